"""The runner in the real image, locked down as sandboxes are: uid, capabilities, seccomp."""

import contextlib
import json
import os
import subprocess
import time

import docker
import pytest
from runner_kit import Door, Kept

from runners.pack import runner_pyz
from runners.protocol import COMMAND
from sandboxes.docker import images
from sandboxes.docker.render import seccomp_profile

pytestmark = pytest.mark.docker
UID = 10001
PYTHON = "/opt/vsc/bin/python"


@pytest.fixture(scope="module")
def client():
    with contextlib.closing(docker.from_env(timeout=120)) as client:
        yield client


class Box:
    """One container; its directories stay to be looked at."""

    def __init__(self, client, home):
        self.client, self.home = client, home
        for name in ("workspace", "out", "door"):
            (home / name).mkdir()
            os.chown(home / name, UID, UID)
        home.chmod(0o755)
        (home / "runner.pyz").write_bytes(runner_pyz())

    def start(self, driver, *, pids=256, memory="1g", **capsule):
        document = {
            "run": "r",
            "stage": "execute",
            "driver": driver,
            "deadline_s": 20.0,
            "protocol": 1,
            **capsule,
        }
        (self.home / "capsule.json").write_text(json.dumps(document))
        inside = {
            "capsule.json": "/vsc/capsule.json",
            "runner.pyz": "/vsc/runner.pyz",
            "door": "/run/vsc",
        }
        binds = {
            str(self.home / name): {"bind": path, "mode": "ro"} for name, path in inside.items()
        }
        binds |= {
            str(self.home / name): {"bind": f"/{name}", "mode": "rw"}
            for name in ("workspace", "out")
        }
        self.container = self.client.containers.create(
            images.identity(self.client, "python"),
            list(COMMAND),
            user=f"{UID}:{UID}",
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true", f"seccomp={seccomp_profile()}"],
            tmpfs={"/tmp": "size=64m,mode=1777"},
            environment={"SECRET": "of-pid-one"},
            volumes=binds,
            pids_limit=pids,
            mem_limit=memory,
            memswap_limit=memory,
            oom_score_adj=500,
        )
        self.container.start()

    def ended(self):
        self.code = self.container.wait(timeout=60)["StatusCode"]
        self.log = self.container.logs()
        return json.loads((self.home / "out/result.json").read_text())

    def run(self, driver, **options):
        self.start(driver, **options)
        return self.ended()

    def python(self, script, **options):
        return self.run({"kind": "command", "argv": [PYTHON, "-I", "-c", script]}, **options)


@pytest.fixture
def box(client, tmp_path):
    box = Box(client, tmp_path)
    yield box
    box.container.remove(force=True, v=True)


def test_a_driver_runs_as_nobody_in_particular(box):
    result = box.python(
        "import os, sys; print(os.getuid(), os.getcwd(), os.getppid()); sys.exit(5)"
    )

    assert (box.code, result["outcome"], result["exit_code"]) == (0, "exited", 5)
    assert box.log == b"10001 /workspace 1\n"


def test_code_of_the_same_uid_cannot_look_into_the_supervisor(box):
    script = """
import ctypes, os
for name in ("environ", "mem", "maps", "fd/3", "cwd", "auxv"):
    try:
        at = f"/proc/1/{name}"
        os.readlink(at) if name in ("fd/3", "cwd") else open(at, "rb").read(1)
        print("READ", name)
    except OSError as error:
        print(name, error.errno)
libc = ctypes.CDLL(None, use_errno=True)
print("ptrace", libc.ptrace(16, 1, 0, 0))
writev = getattr(libc, "process_vm_writev", None)
print("writev", writev(1, None, 0, None, 0, 0) if writev else -1)
"""
    box.python(script)

    assert b"READ" not in box.log, box.log
    assert b"ptrace -1" in box.log


def test_a_tool_cannot_look_into_the_process_that_runs_it(box):
    script = """
import os
parent = os.getppid()
for name in ("environ", "mem"):
    try:
        open(f"/proc/{parent}/{name}", "rb").read(1); print("READ", name)
    except OSError as error:
        print(name, error.errno)
"""
    tool = {"name": "t", "argv": [PYTHON, "-I", "-c", script], "timeout_s": 10.0}

    result = box.run({"kind": "tools", "tools": [tool]})

    assert result["tools"][0]["exit_code"] == 0
    assert b"READ" not in box.log
    assert box.log.count(b"13") == 2


def test_a_fork_bomb_ends_at_the_deadline_with_a_result(box):
    bomb = "import os, signal\nfor n in (15, 1, 2): signal.signal(n, signal.SIG_IGN)\n"
    bomb += "while True:\n    try: os.fork()\n    except OSError: pass"
    started = time.monotonic()

    result = box.python(bomb, pids=48, deadline_s=2.0, grace_s=3.0)

    assert (box.code, result["outcome"], result["detail"]) == (
        124,
        "deadline",
        "the driver did not end within 2 s",
    )
    assert time.monotonic() - started < 15


def test_when_memory_runs_out_the_record_keeper_lives(box):
    result = box.python("x = bytearray()\nwhile True: x += b'x' * 10_000_000", memory="128m")

    assert (box.code, result["outcome"], result["exit_code"]) == (0, "signaled", None)
    assert "signal 9" in result["detail"]


def test_docker_stop_is_a_termination_with_a_result(box):
    deaf = "trap '' TERM; : > up; sleep 100"
    box.start({"kind": "command", "argv": ["/bin/sh", "-c", deaf]}, grace_s=2.0)
    while not (box.home / "workspace" / "up").exists():
        time.sleep(0.05)

    box.container.stop(timeout=10)

    result = box.ended()
    assert (box.code, result["outcome"]) == (143, "terminated")


def test_a_locked_up_output_directory_takes_the_result(box):
    result = box.python("import os; os.mkdir('/out/result.json'); os.chmod('/out', 0)")

    assert result["outcome"] == "exited"


def test_a_full_disk_takes_the_result(box):
    out = box.home / "out"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=1m,nr_inodes=32,uid={UID},gid={UID}", "none", out],
        check=True,
    )
    try:
        fill = "import itertools, os\n"
        fill += (
            "try:\n    with open('/out/fill', 'wb', 0) as f:\n"
            "        while True: f.write(b'x' * 4096)\nexcept OSError: pass\n"
        )
        fill += (
            "try:\n    for i in itertools.count(): open(f'/out/{i}', 'x')\n"
            "except OSError as e: print(e.errno)"
        )
        result = box.python(fill)
        assert (result["outcome"], box.log) == ("exited", b"28\n")
    finally:
        subprocess.run(["umount", out], check=True)


def test_log_events_and_relay_go_through_the_door(box):
    socket_path = box.home / "door/door.sock"
    script = """
import http.client, json
connection = http.client.HTTPConnection("127.0.0.1", __import__("os").environ["VSC_GATEWAY_PORT"])
connection.request("POST", "/chunks", json.dumps({"chunks": []}))
print(connection.getresponse().status)
"""
    with Door(socket_path, kept := Kept()):
        socket_path.chmod(0o666)
        box.python(script, relay=True)

    assert kept.text("stdout") == b"200\n"
    assert box.log == b""


def test_what_it_adds_to_a_start_is_small(box):
    """Not a benchmark: a guard against an import that costs a second."""
    result = box.run({"kind": "command", "argv": ["/bin/true"]})
    state = box.client.api.inspect_container(box.container.id)["State"]
    ran_s = _seconds(state["FinishedAt"]) - _seconds(state["StartedAt"])

    assert result["duration_s"] < 1.0
    assert ran_s < 3.0


def _seconds(stamp):
    hours, minutes, seconds = stamp.rstrip("Z").partition("T")[2].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
