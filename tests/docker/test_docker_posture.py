"""What a sandbox cannot do, tried from inside, not read off its settings (faults S16-S31, E01)."""

import json
import os
import socket
from pathlib import Path

import pytest
from sandbox_fixtures import docker_provider
from sandbox_kit import UID, Kit

from sandboxes.docker.workspaces import OverlayWorkspaces
from sandboxes.spec import Output

pytestmark = pytest.mark.docker
PROBE = Path(__file__).with_name("posture_probe.py")
X86 = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the probe knows the call numbers of x86-64 only"
)


@pytest.fixture(scope="module")
async def posture(docker_client, slots, python_image, tmp_path_factory):
    """What the probe found, in a sandbox with everything that a sandbox can have."""
    root = tmp_path_factory.mktemp("posture")
    kit = Kit(root / "kit", python_image)
    provider = docker_provider(docker_client, kit, root / "home", OverlayWorkspaces(slots))
    inputs = (kit.input("/vsc/packet.json", b"{}"), kit.input("/vsc/probe.py", PROBE.read_bytes()))
    abstract = f"vsc-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind(f"\0{abstract}")
        hidden.listen()
        argv = ["probe", str(ours.getsockname()[1]), abstract]
        spec = kit.spec(
            f"import sys, runpy; sys.argv = {argv}; runpy.run_path('/vsc/probe.py')",
            inputs=inputs,
            environment=kit.environment,
            door=True,
            outputs=(Output("probe.json", 2**20),),
        )
        sandbox = await provider.launch(spec)
        outcome = await provider.wait(sandbox)
    log = docker_client.logs(sandbox).decode()
    await provider.destroy(sandbox)
    assert outcome.exit_code == 0, log
    return json.loads(kit.read(outcome.outputs["probe.json"]))


def some(posture, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in posture.items()
        if name.startswith(prefix)
    }


@X86
async def test_calls_that_reach_the_kernel_s_back_rooms_are_refused(posture):
    calls = some(posture, "call:")

    assert len(calls) >= 39
    assert {name: got for name, got in calls.items() if got != "EPERM"} == {}
    assert posture["clone3"] == "ENOSYS"  # libc falls back to clone, whose flags the filter can see


async def test_only_plain_sockets_can_be_made(posture):
    sockets = some(posture, "socket:")

    assert len(sockets) == 7
    assert set(sockets.values()) == {"EPERM"}, sockets


async def test_there_is_no_network_but_ones_own_loopback(posture):
    network = some(posture, "net:")

    assert network["own_loopback"] == "works"
    assert network["own_loopback6"] == "works" or not posture["has_ipv6"]
    assert network["hosts_loopback"] == network["abstract"] == "ECONNREFUSED"
    for name in ("tcp4", "udp4", "tcp6", "bridge"):
        assert network[name] in {"ENETUNREACH", "EADDRNOTAVAIL"}, network
    assert network["dns"] != "resolved"
    assert posture["interfaces"] == ["lo"]


async def test_its_own_names_are_known_and_no_server_of_the_host(posture):
    """Half of the world's tests open a server on `localhost`."""
    assert some(posture, "name:") == {"localhost": "127.0.0.1", "sandbox": "127.0.0.1"}
    assert posture["nameservers"] == ["127.0.0.1"]


async def test_only_workspace_out_and_tmp_can_be_written(posture):
    writes = some(posture, "write:")

    assert len(writes) >= 19
    assert set(writes.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, writes
    for path in ("/rootfs", "/etc/passwd", "/vsc/x", "/env/x", "/run/vsc/x", "/opt/vsc/x"):
        assert writes[path] in {"EROFS", "EACCES"}, path
    assert set(some(posture, "may:").values()) == {"written"}


async def test_only_known_mounts_are_writable_and_none_honours_setuid_or_devices(posture):
    options = {point: set(shown.split(",")) for point, (_, shown) in posture["mounts"].items()}
    writable = {point for point, shown in options.items() if "rw" in shown}

    # The last ones are the engine's; the probe's attempts to write there failed (cgroup v1 leaves
    # its top mounted so).
    engines = {"/dev", "/dev/shm", "/dev/pts", "/dev/mqueue", "/proc", "/sys/fs/cgroup"}
    masks = {
        point for point in writable if point.startswith("/proc/")
    }  # /dev/null or an empty tmpfs over what is hidden
    assert writable - engines - masks == {"/workspace", "/out", "/tmp"}
    for point in ("/workspace", "/out", "/tmp"):
        assert {"nosuid", "nodev"} <= options[point]


async def test_what_tells_about_the_host_is_hidden(posture):
    reads = some(posture, "read:")

    assert {
        path: got for path, got in reads.items() if got not in {0, "ENOENT", "EACCES", "EPERM"}
    } == {}
    assert posture["list:/sys/firmware"] == []


async def test_nothing_makes_it_more_than_its_uid(posture):
    status = posture["status"]

    assert posture["mknod"] == posture["chown"] == posture["setuid"] == "EPERM"
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert posture["ids"][:3] == [UID, UID, UID]
    assert set(posture["ids"][3]) <= {UID}


async def test_files_core_locked_and_shared_memory_are_capped(posture):
    limits = posture["limits"]

    assert (limits["CORE"], limits["NOFILE"]) == ([0, 0], [4096, 4096])
    assert (limits["MEMLOCK"], limits["MSGQUEUE"]) == ([65536, 65536], [819200, 819200])
    assert posture["shm_bytes"] == 64 * 2**20
    assert posture["tmp"] == [512 * 2**20, 5000]


async def test_it_sees_only_itself(posture):
    names = {entry.split("=")[0] for entry in posture["environ"].split("\0") if entry}

    assert posture["hostname"] == "sandbox"
    assert posture["pids"] == ["1"]
    assert {line.rsplit(":", 1)[1] for line in posture["cgroup"].split()} == {"/"}
    assert names == {"PATH", "HOME", "LANG", "HOSTNAME"}
