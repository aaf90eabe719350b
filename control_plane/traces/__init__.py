"""Traces and their steps."""
