"""The image's own interpreter compiles the runner, once; what it starts from then is that."""

import zipfile

import pytest
from company_kit import fresh_home

from control_plane.main import open_company
from control_plane.settings import Settings

pytestmark = pytest.mark.docker


async def test_a_company_compiles_its_runner_once_and_leaves_no_sandbox():
    with fresh_home("vsc-compiled-") as home:
        async with open_company(Settings(home=home)) as company:
            (note,) = (home / "runners").iterdir()
            compiled = company.services.blobs.path(note.read_text())
            with zipfile.ZipFile(compiled) as archive:
                assert archive.read("runners/supervisor.pyc")[:4] != b""
                assert "runners/supervisor.py" in archive.namelist()
            assert not list((home / "docker" / "sandboxes").iterdir())
            written = note.stat().st_mtime_ns
        async with open_company(Settings(home=home)):
            assert [one.stat().st_mtime_ns for one in (home / "runners").iterdir()] == [written]
