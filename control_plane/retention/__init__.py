"""What nothing names any more is collected, by kind and age."""
