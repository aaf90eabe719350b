"""Source code: bare mirrors, trees made of objects, base snapshots, environments."""
