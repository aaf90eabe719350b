"""Content-addressed artifacts, and the depot that sandboxes take them from."""
