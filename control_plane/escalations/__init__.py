"""Questions that go up the chain of command."""
