"""Slots made ahead: their size, and who gets them when several processes share a pool.

Needs root and loop devices only.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandboxes.docker import slots as slots_module
from sandboxes.docker.mounts import mounted_below
from sandboxes.docker.slots import Size, Slots, discard

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]
SIZE = Size(32 * 2**20, 500)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def pool(tmp_path):
    made = Slots(tmp_path / "pool", ahead=2)
    yield made
    made.close()
    for slot in tmp_path.glob("taken*"):
        discard(slot)
    assert mounted_below(tmp_path) == []
    assert [
        path.name for path in (tmp_path / "pool").iterdir() if not path.name.startswith("template-")
    ] == []


def test_a_slot_holds_what_was_asked_and_hardly_more(pool, tmp_path):
    pool.take(SIZE, tmp_path / "taken")

    room = os.statvfs(tmp_path / "taken" / "fs")

    assert 0.9 * SIZE.data_bytes < room.f_bavail * room.f_frsize < 1.02 * SIZE.data_bytes
    assert 400 < room.f_ffree < 600
    assert (
        tmp_path / "taken" / "image"
    ).stat().st_blocks * 512 < 4 * 2**20  # sparse: nothing is paid ahead


def test_every_taker_gets_a_slot_of_its_own(pool, tmp_path):
    other = Slots(tmp_path / "pool", ahead=2)
    pool.want(SIZE)
    assert pool.settle()

    def take(number):
        (pool if number % 2 else other).take(SIZE, tmp_path / f"taken{number}")
        (tmp_path / f"taken{number}" / "fs" / "out" / "mark").write_text(str(number))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    marks = [
        (tmp_path / f"taken{number}" / "fs" / "out" / "mark").read_text() for number in range(6)
    ]
    assert marks == [str(number) for number in range(6)]


def test_a_slot_that_another_takes_during_the_look_is_passed_over(pool, tmp_path, monkeypatch):
    pool.want(SIZE)
    assert pool.settle()
    is_mount, taken = Path.is_mount, []

    def between(path):
        if path.name == "fs" and not taken:  # after it was listed, before it is looked at
            taken.append(path.parent.rename(tmp_path / "taken-by-another"))
            path.stat()
        return is_mount(path)

    monkeypatch.setattr(Path, "is_mount", between)
    pool.take(SIZE, tmp_path / "taken-by-us")
    monkeypatch.undo()

    assert (tmp_path / "taken-by-us" / "fs").is_mount()
    assert (tmp_path / "taken-by-another" / "fs").is_mount()


def test_what_a_killed_maker_left_is_swept_and_what_it_finished_is_used(pool, tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from sandboxes.docker import slots, mounts\n"
        "pool = slots.Slots(Path(sys.argv[1]), ahead=1)\nsize = slots.Size(32 * 2**20, 500)\n"
        "pool.want(size); assert pool.settle()\n"
        "slots.mounts.mount_image = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pool.take(size, Path(sys.argv[2]) / 'taken0'); pool.settle(); signal.pause()\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pool"), str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), **os.environ},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "pool").glob("making-*"))

    pool.want(SIZE)
    assert pool.settle()

    assert not list((tmp_path / "pool").glob("making-*"))
    assert (tmp_path / "taken0" / "fs").is_mount()


def test_a_pool_that_cannot_make_slots_does_not_fail_those_who_wait_for_none(
    pool, tmp_path, monkeypatch
):
    pool.want(SIZE)
    assert pool.settle()
    monkeypatch.setattr(
        slots_module, "_make", lambda *_: (_ for _ in ()).throw(OSError("no loop device"))
    )

    pool.take(SIZE, tmp_path / "taken1")
    pool.take(SIZE, tmp_path / "taken2")

    with pytest.raises(OSError, match="no loop device"):
        pool.take(SIZE, tmp_path / "taken3")


def test_a_slot_given_back_is_gone_at_once_and_freed_soon(pool, tmp_path):
    pool.take(SIZE, tmp_path / "taken")

    pool.give_back(tmp_path / "taken")

    assert not (tmp_path / "taken").exists()
    ends_at = time.monotonic() + 10
    while list((tmp_path / "pool").glob("spent-*")) and time.monotonic() < ends_at:
        time.sleep(0.02)
    assert not list((tmp_path / "pool").glob("spent-*"))


def test_who_sweeps_takes_no_slot_that_somebody_is_just_making(pool, tmp_path):
    """A directory is there an instant before its maker holds it."""
    other, ended = Slots(tmp_path / "pool", ahead=0), threading.Event()

    def sweep():
        while not ended.is_set():
            other._sweep()

    sweepers = [threading.Thread(target=sweep) for _ in range(4)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(300):
            with other._made() as slot:
                assert slot.is_dir()
    finally:
        ended.set()
        for sweeper in sweepers:
            sweeper.join()
