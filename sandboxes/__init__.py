"""Isolated places to run one command: the port, its values, and an engine per folder."""
