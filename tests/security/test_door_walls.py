"""D9: a door's directory and sockets are entered by the sandbox's uid and by us alone."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access

from control_plane.gateway.door import Doors
from sandboxes.docker.records import door_of

GUEST, NOBODY = 10001, 65534
KNOCK = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
with socket.socket(socket.AF_UNIX) as door:
    try:
        if sys.argv[2] == "inside":
            os.fchdir(3)
            door.connect("door.sock")
        else:
            door.connect(sys.argv[2])
    except PermissionError:
        sys.exit("refused")
    door.sendall(b"GET /capsule HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n")
    print(door.recv(100).split()[1].decode(), end="")
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
async def door():
    """An open door in a home that everybody may look into, as `/var/lib/vsc` is."""
    home = Path(tempfile.mkdtemp(prefix="vsc-walls-", dir="/var/tmp"))
    home.chmod(0o755)  # noqa: ASYNC240 -- nobody waits for this loop
    place = door_of(home, "vsc-abcdef-" + "0" * 32 + "-head-0", GUEST)
    place.make()
    doors = Doors(MemoryChunks(), MemoryCapsules(capsule=b"{}"), MemoryAudit())
    await doors.open("vsc-1", place, access("prepare"))
    yield place
    await doors.close_all()


async def knock(uid, where, mounted=None):
    """Connect as that user. `mounted`: from inside the directory, as by a mount of it."""

    def run():
        held = None if mounted is None else os.open(mounted, os.O_RDONLY | os.O_DIRECTORY)
        code = KNOCK if held is None else KNOCK.replace("fchdir(3)", f"fchdir({held})")
        return subprocess.run(
            [sys.executable, "-c", code, str(uid), where],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[] if held is None else [held],
        )

    done = await asyncio.to_thread(run)
    return done.stdout or done.stderr.strip()


@pytest.mark.parametrize("uid", [NOBODY, GUEST])
async def test_no_user_of_the_host_can_walk_to_a_door(door, uid):
    assert await knock(uid, str(door.http)) == "refused"
    assert await knock(uid, str(door.egress)) == "refused"


async def test_the_mounted_directory_admits_the_sandbox_and_not_another_user(door):
    assert await knock(GUEST, "inside", mounted=door.path) == "200"
    assert await knock(NOBODY, "inside", mounted=door.path) == "refused"


async def test_the_sandbox_cannot_put_a_socket_of_its_own_there(door):
    code = f"import os; os.setgid({GUEST}); os.setuid({GUEST}); os.fchdir(%d); open('x', 'w')"
    held = os.open(door.path, os.O_RDONLY | os.O_DIRECTORY)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code % held], pass_fds=[held], capture_output=True
    )
    os.close(held)

    assert b"PermissionError" in done.stderr


def test_every_directory_is_closed_from_its_first_instant(tmp_path, monkeypatch):
    """Whatever the umask, and before any second step: seen by stopping before each `chmod`."""
    seen = []
    real = Path.chmod

    def watched(self, mode, **options):
        seen.append(stat.S_IMODE(self.stat().st_mode))
        real(self, mode, **options)

    monkeypatch.setattr(Path, "chmod", watched)
    before = os.umask(0)
    try:
        place = door_of(tmp_path, "vsc-abcdef-" + "0" * 32 + "-head-0", GUEST)
        place.make()
    finally:
        os.umask(before)

    assert seen
    assert all(mode & 0o077 == 0 for mode in seen)
    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700


def test_what_an_older_control_plane_left_open_is_closed(tmp_path):
    place = door_of(tmp_path, "vsc-abcdef-" + "0" * 32 + "-head-0", GUEST)
    place.path.mkdir(parents=True)
    place.path.chmod(0o755)
    place.path.parent.chmod(0o755)
    place.make()

    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o710
