"""Sandboxes on the Docker engine of this machine."""
