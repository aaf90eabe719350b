"""Fetching over https from a server on loopback: git's plain protocol, static files behind TLS."""

import contextlib
import functools
import http.server
import os
import ssl
import subprocess
import threading

import pytest
from package_index import certificate

from control_plane.repos.addresses import AddressRefused
from control_plane.repos.git import GitFailed, RepositoryError
from control_plane.repos.mirrors import Mirrors, RevisionUnknown

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
}


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRON, check=True, capture_output=True, text=True
    ).stdout.strip()


class Files(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/elsewhere/", "/repo.git/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server's address. It has one repository; git's certificates are set as on a machine."""
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    (source / "a").write_text("1")
    git(source, "add", ".")
    git(source, "commit", "-qm", "one")
    git(source, "branch", "other")
    git(source, "commit", "-q", "--allow-empty", "-m", "two")
    (tmp_path / "www").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(source), "www/repo.git")
    git(tmp_path / "www" / "repo.git", "update-server-info")
    keys, pem = certificate(tmp_path)
    (tmp_path / "ca.pem").write_bytes(pem)
    for name in ["HTTPS_PROXY", "https_proxy", "SSL_CERT_DIR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Files, directory=str(tmp_path / "www"))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        yield f"https://127.0.0.1:{server.server_address[1]}", source


async def test_a_repository_comes_over_https_whole_or_by_one_ref(served, tmp_path):
    address, source = served
    mirrors = Mirrors(tmp_path / "repos", allow_private_addresses=True)

    assert await mirrors.fetch_https("whole", f"{address}/repo.git") == git(
        source, "rev-parse", "main"
    )
    assert await mirrors.fetch_https("one", f"{address}/repo.git", "other") == git(
        source, "rev-parse", "other"
    )
    assert await mirrors.resolve("whole", "other") == git(source, "rev-parse", "other")
    with pytest.raises(RevisionUnknown):
        await mirrors.fetch_https("none", f"{address}/repo.git", "absent")
    with pytest.raises(RepositoryError, match="not the name"):
        await mirrors.fetch_https("none", f"{address}/repo.git", "--upload-pack=id")


async def test_a_private_address_is_not_dialled_unless_it_is_allowed(served, tmp_path):
    address, _ = served

    with pytest.raises(AddressRefused, match="not a public address"):
        await Mirrors(tmp_path / "repos").fetch_https("r", f"{address}/repo.git")


async def test_a_redirect_is_not_followed_and_a_strange_certificate_not_believed(
    served, tmp_path, monkeypatch
):
    address, _ = served
    mirrors = Mirrors(tmp_path / "repos", allow_private_addresses=True)

    with pytest.raises(GitFailed, match=r"redirect|302"):
        await mirrors.fetch_https("r", f"{address}/elsewhere")
    (tmp_path / "another").mkdir()
    (tmp_path / "ca.pem").write_bytes(certificate(tmp_path / "another")[1])
    with pytest.raises(GitFailed, match="certificate"):
        await mirrors.fetch_https("r", f"{address}/repo.git")
