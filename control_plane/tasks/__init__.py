"""Tasks: what was asked of an agent, and where it stands."""
