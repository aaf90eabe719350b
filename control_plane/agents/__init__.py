"""The workforce registry."""
