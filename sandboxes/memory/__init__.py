"""The in-memory engine: sandboxes as plain processes, for tests and demos, **without isolation**.

The engine (`engine.py`, `python -m sandboxes.memory`) is a process of its own, as dockerd is;
`provider.MemoryProvider` is its client. So a control plane can die while its sandboxes live, and
an engine can die while the control plane lives.
"""
