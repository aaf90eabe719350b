"""Composition roots: settings -> what one process is made of. Nothing else builds things."""
