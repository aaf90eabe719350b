"""Judging a change.

Which tools run where (plan), what their raw outputs say (parsers, gates), what follows (policy).
"""
