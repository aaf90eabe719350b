"""What can go wrong with the collector; the class says who must act."""


class AlreadyCollecting(Exception):
    """Another process collects; look again when it has ended."""
