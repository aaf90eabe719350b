"""Behind the one way out of a sandbox: its capsule, its logs, its outputs, and the egress that its stage allows."""
