"""The in-memory engine as a process of the test's own: started, killed, stopped, started again."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxes.memory.wire import line

PLAYED = Path(__file__).parents[2] / "runner_images" / "played"


@dataclass
class EngineProcess:
    """An engine over a home; it comes and goes, its sandboxes need not."""

    home: Path
    images: Mapping[str, Path]
    process: subprocess.Popen = field(init=False)

    def start(self, *, lose: bool = False) -> None:
        images = [f"--image={name}={folder}" for name, folder in self.images.items()]
        command = [sys.executable, "-m", "sandboxes.memory", "--home", str(self.home), *images]
        self.process = subprocess.Popen(
            [*command, *(["--lose"] if lose else [])], stdout=subprocess.PIPE
        )
        with self.process.stdout as told:
            assert told.readline() == b"listening\n"

    async def ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        """What no provider asks: `end` (evict, lose), `refuse`, `starts`."""
        async with line(self.home, 10.0) as engine:
            return await engine.ask(verb, **fields)

    async def starts(self) -> Counter[str]:
        """How often the engine has started each sandbox, by its own record."""
        return Counter(one["name"] for one in (await self.ask("starts"))["starts"])

    def kill(self) -> None:
        """As a machine kills it: nothing is put in order."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


@contextlib.contextmanager
def memory_engine(images: Mapping[str, Path]) -> Iterator[EngineProcess]:
    """A running engine; its home is short, as the paths of sockets are."""
    home = Path(tempfile.mkdtemp(prefix="vsc-", dir="/tmp"))
    home.chmod(0o711)
    engine = EngineProcess(home, images)
    engine.start()
    try:
        yield engine
    finally:
        engine.go_on()
        engine.stop()
        shutil.rmtree(home)


def played_image(folder: Path) -> Path:
    """The image that plays the runner's world on this interpreter (`runner_images/played`)."""
    subprocess.run([sys.executable, str(PLAYED / "build.py"), str(folder)], check=True)
    return folder


def plain_image(folder: Path) -> Path:
    """An image that holds nothing but this interpreter."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder
