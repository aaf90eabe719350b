"""The image's own interpreter compiles the runner, once, before the first sandbox of the image."""

import asyncio
import io
import zipfile

import pytest
from company_kit import fresh_home

from control_plane.orchestrator.compiled_runner import CompiledRunners
from control_plane.processes.engines import Engine, docker_engine
from control_plane.processes.ground import Ground, open_ground
from control_plane.processes.local import open_company
from control_plane.settings import Settings
from runners.pack import runner_pyz

pytestmark = pytest.mark.docker


def runners_of(ground: Ground, engine: Engine) -> CompiledRunners:
    return CompiledRunners(
        engine.provider, ground.blobs, ground.home / "runners", engine.site.name, runner_pyz()
    )


async def test_the_runner_of_an_image_is_compiled_once_and_leaves_no_sandbox():
    with fresh_home("vsc-compiled-") as home:
        async with open_ground(Settings(home=home)) as ground, docker_engine(ground) as engine:
            runners = runners_of(ground, engine)
            first, second = await asyncio.gather(runners.of(engine.image), runners.of(engine.image))
            assert first == second
            (note,) = (home / "runners").iterdir()
            compiled = io.BytesIO(await ground.blobs.read(first, 2**23))
            with zipfile.ZipFile(compiled) as archive:
                assert archive.read("runners/supervisor.pyc")[:4] != b""
                assert "runners/supervisor.py" in archive.namelist()
            assert not list((home / "docker" / "sandboxes").iterdir())
            written = note.stat().st_mtime_ns

            assert await runners_of(ground, engine).of(engine.image) == first
            assert [one.stat().st_mtime_ns for one in (home / "runners").iterdir()] == [written]


async def test_starting_up_launches_no_sandbox():
    with fresh_home("vsc-compiled-") as home:
        async with open_company(Settings(home=home)):
            assert not (home / "runners").exists()
            assert not (home / "docker" / "sandboxes").exists()
