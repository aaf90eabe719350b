"""Projects and their modules."""
