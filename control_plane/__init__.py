"""The brain: the only package that knows all the others."""
