"""Runs: the queue, their sandboxes, logs and events."""
