"""P10: the memory of a control plane after many finished runs: it must not grow with them.

The control plane is `vsc up`, a process of its own over the in-memory engine. Runs of a command
are submitted and followed over its API by four clients, each run on another commit than the last.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from benchmarks.material import ROOT, git, made_repository
from benchmarks.paired import Entry, say
from benchmarks.serving import ended, serving
from control_plane.cli.client import Client
from control_plane.cli.connect import connected
from control_plane.settings import Settings

_KEY = "bench"
_RUNS_OF_A_TASK = 2
"""A session, and the judgement of its patch."""
_FILES = 20
_COMMITS = 20
_CLIENTS = 4
_LOOKS = 5
_TOLD_EVERY = 50


async def measure(home: Path, runs: int) -> list[Entry]:
    """Resident memory after a tenth of the runs, and after all."""
    repository = made_repository(home / "memory.git", _FILES)
    commits = git(repository, "rev-list", f"-n{_COMMITS}", "main").decode().split()
    bases = itertools.cycle(commits)
    tasks = max(2, runs // _RUNS_OF_A_TASK)
    tenth = max(1, tasks // 10)
    with _engine(home / "image") as engine:
        async with _control_plane(home / "memory", engine) as (client, pid):
            source = {"kind": "path", "path": str(repository)}
            await client.post("/v1/repositories", {"key": _KEY, "source": source})
            await _finish(client, itertools.islice(bases, tenth))
            few = await _resident_mb(pid)
            await _finish(client, itertools.islice(bases, tasks - tenth))
            many = await _resident_mb(pid)
    early, late = (
        f"after {count * _RUNS_OF_A_TASK:,} finished runs: {mb:.1f} MB"
        for count, mb in ((tenth, few), (tasks, many))
    )
    how = (
        f"resident memory of `vsc up` over the in-memory engine {late}, against {early};"
        f" {len(commits)} base commits"
    )
    what = "memory of the control plane (P10-memory)"
    return [Entry("P10-memory", many / few, 1.1, how, what, early, late)]


async def _finish(client: Client, bases: Iterator[str]) -> None:
    """Run a command on each base, and come back when all runs have ended."""
    counted = itertools.count(1)

    async def bring() -> None:
        for base in bases:
            await _task(client, base)
            if (count := next(counted)) % _TOLD_EVERY == 0:
                say(f"memory: {count * _RUNS_OF_A_TASK} runs", end="\r")

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(bring())


async def _task(client: Client, base: str) -> None:
    """A session, and the judge run of what it left."""
    driver = {"kind": "command", "argv": ["true"]}
    asked = {"repository": _KEY, "base": base, "driver": driver}
    task = await client.post("/v1/tasks", asked)
    await _ended(client, task["run_id"])
    await _ended(client, (await client.get(f"/v1/tasks/{task['id']}"))["run_id"])


async def _ended(client: Client, run_id: str) -> None:
    async for _ in client.events(run_id):
        pass
    run = await client.get(f"/v1/runs/{run_id}")
    if run["state"] != "FINISHED":
        raise RuntimeError(f"run {run_id} is {run['state']}: {run['cause']}")


async def _resident_mb(pid: int) -> float:
    """What it holds while nothing runs: the median of some looks."""
    looks = []
    for _ in range(_LOOKS):
        await asyncio.sleep(1.0)
        status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        looks.append(int(line.split()[1]) / 1024)
    say(f"memory: {statistics.median(looks):.1f} MB")
    return statistics.median(looks)


@asynccontextmanager
async def _control_plane(home: Path, engine: Path) -> AsyncIterator[tuple[Client, int]]:
    vsc = Path(sys.executable).with_name("vsc")
    with serving(vsc, home, VSC_ENGINE=f"memory:{engine}") as pid:
        async with connected(Settings(home=home), None, None, in_process=None) as connection:
            yield connection.client, pid


@contextmanager
def _engine(image: Path) -> Iterator[Path]:
    """The home of a running in-memory engine with the played image; short, for its sockets."""
    build = ROOT / "runner_images" / "played" / "build.py"
    subprocess.run([sys.executable, build, image], check=True)
    with tempfile.TemporaryDirectory(prefix="vsc-") as short:
        home = Path(short)
        home.chmod(0o711)
        command = [sys.executable, "-m", "sandboxes.memory"]
        process = subprocess.Popen(
            [*command, "--home", home, "--image", f"python={image}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        try:
            if process.stdout is None or process.stdout.readline() != b"listening\n":
                raise RuntimeError("the in-memory engine does not start")
            yield home
        finally:
            ended(process)
