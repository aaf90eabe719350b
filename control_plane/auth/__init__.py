"""Who may call the operator API."""
