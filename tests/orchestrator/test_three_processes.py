"""API, orchestrator and gateway as processes of their own over one home: `vsc up --only ...`."""

import subprocess

from company_kit import fresh_home
from parts_kit import VSC, a_trio

from control_plane.processes.names import Part


def test_an_orchestrator_without_an_engine_says_so_and_the_others_need_none(fleet):
    said = subprocess.run(
        [*VSC, "up", "--only", "orchestrator", "--port", "0"],
        env=fleet.environ | {"VSC_ENGINE": "memory:/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 2
    assert "/nowhere" in said.stderr
    assert "Traceback" not in said.stderr


async def test_the_embedded_database_outlives_whoever_started_it(fleet):
    """And is stopped by the last one out."""
    environ = {name: value for name, value in fleet.environ.items() if name != "VSC_DATABASE_URL"}
    with fresh_home("vsc-parts-") as home, a_trio(home, environ) as trio:
        for part in (Part.GATEWAY, Part.API):
            trio.start(part)
            await trio.told(part)
        server = pid_of(home)
        trio.kill(Part.GATEWAY)
        _, ready = await trio.health(Part.API, "ready")
        trio.start(Part.GATEWAY)
        await trio.told(Part.GATEWAY)
        same = pid_of(home)
        ended = [await trio.end(part) for part in (Part.API, Part.GATEWAY)]

        assert ready["status"] == "ready", ready
        assert same == server
        assert ended == [0, 0]
        assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def pid_of(home):
    return (home / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0]
