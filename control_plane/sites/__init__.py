"""Sites: an engine and the orchestrators beside it."""
