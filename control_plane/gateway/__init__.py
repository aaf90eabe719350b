"""Behind the one way out of a sandbox: its capsule, its logs, and the egress of its stage."""
