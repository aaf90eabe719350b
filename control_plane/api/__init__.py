"""The operator API: routes, and what goes over the wire; the rooms below know no HTTP."""
