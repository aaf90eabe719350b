"""The command line: a face of the same services, over HTTP or in this process."""
