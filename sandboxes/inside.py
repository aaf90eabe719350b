"""Where things lie inside a sandbox, on every provider."""

WORKSPACE = "/workspace"
INPUTS = "/vsc"
OUT = "/out"
ENVIRONMENT = "/env"
DOOR = "/run/vsc"
IMAGE = "/opt/vsc"
"""What the image itself brings along."""
