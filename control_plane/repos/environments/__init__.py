"""A project's installed dependencies as one archive: what to install, how, and what came of it."""
