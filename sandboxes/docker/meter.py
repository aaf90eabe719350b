"""What a running container has used so far: two small files of its control group, no call."""

from dataclasses import dataclass, field
from pathlib import Path

from sandboxes.spec import Usage

_ROOT = Path("/sys/fs/cgroup")


@dataclass(slots=True)
class Meter:
    """The last readings of one container.

    The group dies with it, so the end of a run is up to one reading short.
    """

    container: str
    usage: Usage = field(default_factory=Usage)

    def read(self) -> None:
        """Take a reading; what cannot be read keeps its last value."""
        cpu_s, peak = self._cpu_s(), self._peak_bytes()
        self.usage = Usage(
            cpu_s=self.usage.cpu_s if cpu_s is None else cpu_s,
            memory_peak_bytes=self.usage.memory_peak_bytes if peak is None else peak,
        )

    def _cpu_s(self) -> float | None:
        nanoseconds = _number(
            _ROOT / "cpuacct" / "docker" / self.container / "cpuacct.usage"
        )  # cgroup v1
        if nanoseconds is not None:
            return nanoseconds / 1e9
        for group in self._groups():
            for line in _text(group / "cpu.stat").splitlines():
                name, _, value = line.partition(" ")
                if name == "usage_usec":
                    return int(value) / 1e6
        return None

    def _peak_bytes(self) -> int | None:
        old = _number(
            _ROOT / "memory" / "docker" / self.container / "memory.max_usage_in_bytes"
        )  # cgroup v1
        if old is not None:
            return old
        peaks = (_number(group / "memory.peak") for group in self._groups())
        return next((peak for peak in peaks if peak is not None), None)

    def _groups(self) -> tuple[Path, Path]:
        """Where cgroup v2 has it, by either driver."""
        return (
            _ROOT / "system.slice" / f"docker-{self.container}.scope",
            _ROOT / "docker" / self.container,
        )


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
