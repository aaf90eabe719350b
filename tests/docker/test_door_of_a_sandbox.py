"""D9 with a real sandbox: it enters its own door and cannot change it; no user of the host can."""

import asyncio
import os
import subprocess
import sys

import pytest
from door_kit import MemoryAudit, MemoryCapsules, MemoryChunks, access

from control_plane.gateway.door import Doors
from sandboxes.spec import Ended

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

INSIDE = """
import os, socket, time
answers = []
for name in ("door.sock", "egress.sock"):
    with socket.socket(socket.AF_UNIX) as door:
        door.connect("/run/vsc/" + name)
        door.sendall(b"GET /capsule HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n")
        answers.append(door.recv(100).split()[1].decode())
for attempt in (lambda: os.unlink("/run/vsc/door.sock"), lambda: os.chmod("/run/vsc", 0o777),
                lambda: os.listdir("/run/vsc"), lambda: open("/run/vsc/mine", "w")):
    try:
        attempt()
        answers.append("done")
    except OSError:
        answers.append("refused")
open("/out/out.txt", "w").write(" ".join(answers))
"""
OUTSIDE = """
import os, sys
os.fchdir(int(sys.argv[1])); os.setgroups([])
os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
os.stat(".")
try:
    os.stat(sys.argv[2])
except PermissionError:
    sys.exit("refused")
"""


async def test_a_sandbox_enters_its_door_and_nobody_on_the_host_does(kit, provider, tmp_path):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home").chmod(0o755)
    spec = kit.spec(INSIDE, door=True)
    place = provider.door(spec.name)
    place.make()
    doors = Doors(MemoryChunks(), MemoryCapsules(capsule=b"{}"), MemoryAudit())
    await doors.open(spec.name, place, access("prepare"))
    sandbox = await provider.launch(spec)

    def knock(uid):
        """Walk to the socket from the home, which everybody may enter."""
        home = os.open(tmp_path / "home", os.O_RDONLY)
        where = str(place.http.relative_to(tmp_path / "home"))
        command = [sys.executable, "-c", OUTSIDE, str(home), where, str(uid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=[home])
        os.close(home)
        return done.stderr.strip()

    outside = [await asyncio.to_thread(knock, uid) for uid in (65534, 10001)]
    outcome = await provider.wait(sandbox)
    await doors.close_all()

    assert outcome.ended is Ended.COMPLETED
    assert kit.read(outcome.outputs["out.txt"]) == b"200 400 refused refused refused refused"
    assert outside == ["refused"] * 2
