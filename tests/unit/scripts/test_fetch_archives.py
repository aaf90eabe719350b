"""Released archives come whole and checked, from whatever index the machine's pip uses.

Here, one on loopback.
"""

import hashlib
import importlib.machinery
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "fetch-archives"
BODY = b"an archive"
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = "real_library-1.0.tar.gz"


@pytest.fixture
def script(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader("fetch_archives", str(SCRIPT))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("fetch_archives", loader)
    )
    loader.exec_module(module)
    monkeypatch.setattr(module, "ARCHIVES", tmp_path / "archives")
    monkeypatch.setattr(module, "MANIFEST", tmp_path / "releases.json")
    release = {
        "name": "Real.Library",
        "old": {"file": FILE, "sha256": SHA256},
        "new": {"file": FILE, "sha256": SHA256},
    }
    module.MANIFEST.write_text(json.dumps([release]))
    monkeypatch.setattr("sys.argv", ["fetch-archives"])
    return module


class Index(BaseHTTPRequestHandler):
    """An index; `pages` maps a path to a content type and a body, `asked` keeps what came in."""

    pages: dict
    asked: list

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        kind, body = self.pages.get(self.path, ("text/plain", None))
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def index(monkeypatch):
    handler = type(
        "OneIndex", (Index,), {"pages": {f"/files/{FILE}": ("application/gzip", BODY)}, "asked": []}
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def as_json(index):
    page = json.dumps({"files": [{"filename": FILE, "url": f"../../files/{FILE}"}]}).encode()
    index.pages["/simple/real-library/"] = ("application/vnd.pypi.simple.v1+json", page)


def as_html(index):
    index.pages["/simple/real-library/"] = (
        "text/html",
        f'<a href="../../files/{FILE}#sha256=x">{FILE}</a>'.encode(),
    )


@pytest.mark.parametrize("answer", [as_json, as_html])
def test_an_archive_is_found_through_either_kind_of_index(script, index, answer):
    answer(index)

    assert script.main() == 0
    assert (script.ARCHIVES / FILE).read_bytes() == BODY


def test_what_is_there_is_not_asked_for_again(script, index):
    as_json(index)
    script.main()
    index.asked.clear()

    assert script.main() == 0
    assert index.asked == []


def test_what_was_damaged_here_is_fetched_again(script, index):
    as_json(index)
    script.main()
    (script.ARCHIVES / FILE).write_bytes(b"half")

    assert script.main() == 0
    assert (script.ARCHIVES / FILE).read_bytes() == BODY


def test_other_bytes_than_those_pinned_are_not_kept(script, index, capsys):
    as_json(index)
    index.pages[f"/files/{FILE}"] = ("application/gzip", BODY + b"!")

    assert script.main() == 1
    assert "sha256 differs" in capsys.readouterr().err
    assert list(script.ARCHIVES.iterdir()) == []


def test_a_release_that_the_index_lacks_is_named(script, index, capsys):
    index.pages["/simple/real-library/"] = ("application/vnd.pypi.simple.v1+json", b'{"files": []}')

    assert script.main() == 1
    assert FILE in capsys.readouterr().err


def test_an_index_that_does_not_answer_is_a_sentence_and_no_traceback(script, index, capsys):
    assert script.main() == 1
    assert capsys.readouterr().err.startswith("fetch-archives: ")


def test_a_password_in_the_index_address_is_sent_as_pip_sends_it(script, index, monkeypatch):
    as_json(index)
    with_password = script.os.environ["PIP_INDEX_URL"].replace("://", "://me:s%40crt@")
    monkeypatch.setenv("PIP_INDEX_URL", with_password)

    assert script.main() == 0
    assert index.asked[0] == ("/simple/real-library/", "Basic bWU6c0BjcnQ=")


def test_an_index_on_this_machines_disk_is_refused(script, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", "file:///etc")

    assert script.main() == 1
    assert "not an http(s) address" in capsys.readouterr().err
