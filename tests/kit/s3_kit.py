"""A real S3 server for tests: versitygw, built once by Go, over a directory, on the loopback."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import obstore
from obstore.store import S3Store
from pydantic import SecretStr

from control_plane.blobs.s3 import Bucket

BUILD = Path(__file__).parents[2] / "scripts" / "s3-server"
KEY, SECRET = "VSCTESTKEY", "a-secret-that-nobody-may-log"


def versitygw() -> Path | None:
    """The program, built if need be (two minutes, once). None: no Go, or no place to fetch from."""
    done = subprocess.run([BUILD], capture_output=True, text=True, timeout=1200, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


@dataclass
class S3Server:
    """Runs between `start` and `kill`; what it keeps survives both."""

    program: Path
    root: Path
    port: int = 0
    process: subprocess.Popen | None = None
    buckets: int = field(default=0)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "S3Server":
        (self.root / "data").mkdir(parents=True, exist_ok=True)
        (self.root / "sidecar").mkdir(exist_ok=True)
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        with (self.root / "log").open("ab") as log:
            self.process = self._started(log)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    raise RuntimeError((self.root / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return self

    def _started(self, log) -> subprocess.Popen:
        return subprocess.Popen(
            [self.program, "--port", f"127.0.0.1:{self.port}", "--quiet",
             "posix", "--sidecar", str(self.root / "sidecar"), str(self.root / "data")],
            env={**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET},
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def bucket(self, **more) -> Bucket:
        """A new bucket, and the way to it."""
        self.buckets += 1
        name = f"bucket-{self.buckets}"
        (self.root / "data" / name).mkdir()
        return self.way(name, **more)

    def way(self, name: str, **more) -> Bucket:
        fields = {
            "name": name,
            "prefix": "some/prefix",
            "endpoint": self.endpoint,
            "access_key_id": SecretStr(KEY),
            "secret_access_key": SecretStr(SECRET),
            "silence_s": 5.0,
        }
        return Bucket(**(fields | more))

    def overwrite(self, bucket: Bucket, key: str, content: bytes) -> None:
        """Somebody else writes an object."""
        store = S3Store(
            bucket.name,
            prefix=bucket.prefix,
            config={
                "endpoint": self.endpoint,
                "access_key_id": KEY,
                "secret_access_key": SECRET,
                "region": "us-east-1",
            },
            client_options={"allow_http": True},
        )
        obstore.put(store, key, content)
