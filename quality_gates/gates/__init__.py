"""One module per gate; each turns a case into a report."""
