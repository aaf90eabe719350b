"""Judging a change: which tools run where (plan), what their raw outputs say (parsers, gates), what follows (policy)."""
