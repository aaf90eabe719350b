"""An interrupted benchmark ends its programs as they want, and leaves nothing mounted."""

import asyncio
import os
import signal
import subprocess

import pytest

from benchmarks.material import unmount_below
from benchmarks.programs import run

ASKED = """
trap 'echo asked > asked; exit 3' {name}
touch ready
while :; do sleep 0.05; done
"""


async def test_a_program_is_run_to_its_end_and_heard(tmp_path):
    ended = await run("/bin/sh", "-c", "echo one; echo two >&2; exit 3", cwd=tmp_path)

    assert (ended.exit_code, ended.said) == (3, "one\ntwo\n")


@pytest.mark.parametrize("ask", [signal.SIGTERM, signal.SIGUSR1])
async def test_a_cancel_asks_the_program_to_end_and_waits_for_it(tmp_path, ask):
    script = ASKED.format(name=ask.name.removeprefix("SIG"))
    running = asyncio.create_task(run("/bin/sh", "-c", script, cwd=tmp_path, ask=ask))
    while not (tmp_path / "ready").exists():  # noqa: ASYNC110 -- another process makes it
        await asyncio.sleep(0.01)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (tmp_path / "asked").read_text() == "asked\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_what_a_killed_program_left_mounted_is_taken_away(tmp_path):
    home = tmp_path / "the home"
    inner = home / "outer" / "inner"
    (home / "outer").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", home / "outer"], check=True)
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=True)

    unmount_below(home)

    assert not (home / "outer").is_mount()
    assert not inner.exists()
