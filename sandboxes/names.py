"""The name that a sandbox, its mounts and its door share: `vsc-<install>-<run>-<stage>-<n>`."""

import re
from dataclasses import dataclass
from uuid import UUID

_NAME = re.compile(r"vsc-([a-z0-9]{6})-([0-9a-f]{32})-([a-z][a-z-]{0,14})-(\d{1,3})")


@dataclass(frozen=True, slots=True)
class SandboxName:
    """Whose sandbox this is. `n` counts relaunches after an infrastructure failure, from 0."""

    install: str
    run: UUID
    stage: str
    n: int = 0

    def __str__(self) -> str:
        """At most 63 characters, so that every engine takes it as a name and as a label."""
        return f"vsc-{self.install}-{self.run.hex}-{self.stage}-{self.n}"

    @classmethod
    def parse(cls, text: str) -> "SandboxName | None":
        """The name that `text` is, or None: somebody else's."""
        found = _NAME.fullmatch(text)
        return cls(found[1], UUID(hex=found[2]), found[3], int(found[4])) if found else None
