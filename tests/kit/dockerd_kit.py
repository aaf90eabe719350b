"""A Docker engine of the test's own: a second dockerd and containerd, killed and started again.

It shares nothing with the machine's engine but the kernel: its own data, state, sockets, process id
file, configuration and network namespace (`--bridge=none` removes `docker0` where it is seen).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandboxes.docker.mounts import mounted_below, unmount

NEEDED = ("dockerd", "containerd", "unshare")
_WITHIN_S = 60.0


def lacking() -> list[str]:
    """What this machine lacks for an engine more."""
    return [one for one in NEEDED if shutil.which(one) is None] + (
        [] if os.geteuid() == 0 else ["root"]
    )


@dataclass
class Dockerd:
    """An engine over `root`; it comes and goes, its containerd stays."""

    root: Path
    _dockerd: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.root}/docker.sock"

    def __post_init__(self) -> None:
        (self.root / "daemon.json").write_text("{}")
        (self.root / "ctd.toml").write_text(
            "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n"
        )
        state = ["--root", self.root / "ctd", "--state", self.root / "ctd-run"]
        self._containerd = self._begun(
            "containerd",
            *("--config", self.root / "ctd.toml"),
            *state,
            *("--address", self.root / "containerd.sock"),
        )
        self._until(self._containerd, (self.root / "containerd.sock").is_socket)

    def start(self, *, live_restore: bool) -> None:
        """Until it answers. With `live_restore`, containers outlive its end."""
        places = {
            "config-file": "daemon.json",
            "data-root": "data",
            "exec-root": "run",
            "pidfile": "docker.pid",
            "containerd": "containerd.sock",
        }
        apart = [
            *(f"--{option}={self.root}/{name}" for option, name in places.items()),
            "--containerd-namespace=vsc-test",
            "--containerd-plugins-namespace=vsc-test-plugins",
            "--bridge=none",
            *(f"--{one}=false" for one in ("iptables", "ip6tables", "ip-forward", "ip-masq")),
        ]
        live = ["--live-restore"] if live_restore else []
        self._dockerd = self._begun("dockerd", "--host", self.host, *apart, *live)
        self._until(self._dockerd, self._answers)

    def kill(self) -> None:
        """As a machine kills it: nothing is put in order."""
        self._dockerd.kill()
        self._dockerd.wait()

    def stop(self) -> None:
        """In order: without live restore it ends its containers first."""
        _ended(self._dockerd)

    def take(self, image: str) -> None:
        """Load an image of the machine's engine."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        load = ["docker", "--host", self.host, "load", "--quiet"]
        with saved.stdout as content:
            subprocess.run(load, stdin=content, check=True, stdout=subprocess.DEVNULL)
        assert saved.wait() == 0

    def containers(self) -> list[str]:
        """Every one that there is."""
        return self._listed("--all")

    def running(self) -> list[str]:
        """Those that run."""
        return self._listed()

    def touch(self, container: str, path: str) -> None:
        """Make a file in a container; one that has just ended is left alone."""
        self._asked("exec", container, "/bin/sh", "-c", f": > {path}")

    def close(self) -> None:
        """End everything; containers that a failed test has left go with their engine."""
        try:
            if self._dockerd is None or self._dockerd.poll() is not None:
                self.start(live_restore=False)
            if left := self.containers():
                self._asked("rm", "--force", *left)
            self.stop()
        finally:
            _ended(self._containerd)
            for left in mounted_below(self.root):
                unmount(left)

    def _begun(self, *command: object) -> "subprocess.Popen[bytes]":
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                ["unshare", "--net", "--", *map(str, command)],
                env={name: word for name, word in os.environ.items() if name != "DOCKER_HOST"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _until(self, process: "subprocess.Popen[bytes]", condition) -> None:
        until = time.monotonic() + _WITHIN_S
        while not condition():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.root / "log").read_text()[-4000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        return self._asked("version").returncode == 0

    def _listed(self, *options: str) -> list[str]:
        done = self._asked("ps", *options, "--format", "{{.Names}}")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def _asked(self, *words: str) -> "subprocess.CompletedProcess[str]":
        # Not the SDK: it leaves a socket behind where nobody listens.
        command = ["docker", "--host", self.host, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _ended(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@contextlib.contextmanager
def a_dockerd() -> Iterator[Dockerd]:
    """An engine that runs, without images; all of it is gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="vsc-dockerd-", dir="/tmp"))
    root.chmod(0o711)  # the user of a sandbox passes through it to its root
    engine = Dockerd(root)
    try:
        engine.start(live_restore=True)
        yield engine
    finally:
        engine.close()
        shutil.rmtree(root)
