"""What can go wrong with a sandbox; the class says who must act."""


class SandboxError(Exception):
    """Any failure of the platform under a sandbox. A failing command is never one of these."""


class SandboxStartFailed(SandboxError):
    """The spec cannot start as written; the caller must change it."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(f"no sandbox from image {image!r}: {reason}")
        self.image, self.reason = image, reason


class ImageMissing(SandboxStartFailed):
    """The engine has no such image: build it (`make images`) and try again."""


class NameTaken(SandboxStartFailed):
    """A sandbox of this name exists with another fingerprint; it is never adopted."""


class ProviderUnavailable(SandboxError):
    """The engine did not answer. Nothing is known about the sandbox; retry later."""


class SandboxUnknown(SandboxError):
    """The engine has never heard of this sandbox, or has forgotten it."""


class BlobMissing(SandboxError):
    """The depot does not hold these bytes."""


class DepotUnavailable(ProviderUnavailable):
    """The store of bytes did not answer, or cannot keep any more. Nothing is known; retry later."""


class TooLarge(SandboxError):
    """The bytes passed the limit that they were given."""
