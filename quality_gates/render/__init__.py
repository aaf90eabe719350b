"""Reports for people and for other programs, one module per form."""
