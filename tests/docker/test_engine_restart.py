"""F22: the engine itself is killed and started again under a run: one of the test's own."""

import asyncio
import contextlib
import gc

import pytest
from cheat_cases import Case, base_repository
from company_kit import test_company as a_company
from dockerd_kit import a_dockerd, lacking
from sqlalchemy import select

from control_plane.runs.models import Run, Sandbox
from control_plane.runs.rules import RunState, SandboxState
from quality_gates.model import GatePolicy, TaskType, Verdict
from sandboxes.docker import images
from sandboxes.docker.mounts import mounted_below
from sandboxes.spec import Ended

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),
    # The SDK leaves sockets behind where nobody listens.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

REFACTOR = GatePolicy(task_type=TaskType.REFACTOR, coverage_minimum=0.0)
GO = "/out/go"
AGENT = f"""
echo '# noted' >> src/toolbox/__init__.py
cat > tests/test_waits.py <<'END'
\"\"\"Waits.\"\"\"

import os
import time


def test_waits():
    \"\"\"Until somebody makes a file.\"\"\"
    while not os.path.exists("{GO}"):
        time.sleep(0.1)
END
while [ ! -e {GO} ]; do sleep 0.1; done
"""


@pytest.fixture
def dockerd(monkeypatch):
    if missing := lacking():
        pytest.skip(f"an engine of the test's own needs {', '.join(missing)}")
    with a_dockerd() as engine:
        engine.take(images.tag("python"))
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        yield engine
        gc.collect()  # now, while what it warns of is expected


async def test_f22_an_engine_that_is_started_again_loses_no_run(dockerd, database, tmp_path):
    """Killed with live restore, killed without, and ended in order while the judge works."""
    base = base_repository(tmp_path / "toolbox", Case("none", "", Verdict.PASSED, None))
    driver = {"kind": "command", "argv": ["/bin/sh", "-euc", AGENT]}
    async with a_company(judge_again=0, poll_s=0.2, database_url=database) as company:
        home = company.company.settings.home
        run = await company.submit(tmp_path / "toolbox", base, driver, REFACTOR)
        first = await living(company, run, "execute", 0)
        await asyncio.to_thread(dockerd.kill)
        await asyncio.to_thread(dockerd.start, live_restore=True)
        assert first in dockerd.running(), "it went on"

        await asyncio.to_thread(dockerd.kill)
        await asyncio.to_thread(dockerd.start, live_restore=False)
        await living(company, run, "execute", 1)
        async with waved_on(dockerd):
            session = await company.ended(run)
        assert session.state is RunState.FINISHED, session.cause

        await living(company, run, "head", 0)
        await asyncio.to_thread(dockerd.stop)
        await asyncio.to_thread(dockerd.start, live_restore=False)
        await living(company, run, "head", 1)
        async with waved_on(dockerd):
            judged = await company.ended(await company.newest(run.task_id))

        assert judged.verdict is Verdict.PASSED, (judged.cause, await told(company))
        assert await ends(company, run, "execute") == [Ended.LOST, Ended.COMPLETED]
        assert await ends(company, run, "head") == [Ended.LOST, Ended.COMPLETED]
        assert dockerd.containers() == []
        assert not [one for one in mounted_below(home) if "sandboxes" in one.parts]


async def living(company, run, stage, n):
    """The name of that sandbox of the run's task, when it runs."""
    async with asyncio.timeout(300):
        while True:
            [box] = await boxes(company, run, stage, n) or [None]
            if box is not None and box.state is SandboxState.LAUNCHED:
                return box.name
            await asyncio.sleep(0.1)


async def boxes(company, run, stage, *numbers):
    async with company.company.services.sessions() as session:
        query = select(Sandbox).join(Run, Run.id == Sandbox.run_id).order_by(Sandbox.n)
        ours = query.where(Run.task_id == run.task_id, Sandbox.stage == stage)
        found = list(await session.scalars(ours))
    return [one for one in found if not numbers or one.n in numbers]


async def told(company):
    """How every sandbox ended."""
    async with company.company.services.sessions() as session:
        rows = await session.scalars(select(Sandbox).order_by(Sandbox.created_at))
        facts = ("ended", "exit_code", "detail")
        return [(one.stage, one.n, *((one.outcome or {}).get(f) for f in facts)) for one in rows]


async def ends(company, run, stage):
    return [one.outcome["ended"] for one in await boxes(company, run, stage)]


@contextlib.asynccontextmanager
async def waved_on(dockerd):
    """Whatever waits in a sandbox meanwhile is told to go."""

    async def wave():
        while True:
            for name in await asyncio.to_thread(dockerd.running):
                await asyncio.to_thread(dockerd.touch, name, GO)
            await asyncio.sleep(0.2)

    waving = asyncio.create_task(wave())
    try:
        yield
    finally:
        waving.cancel()
        await asyncio.wait({waving})
