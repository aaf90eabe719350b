"""The steps inside a `prepare` sandbox, where the index comes and goes."""

import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from control_plane.repos.environments import inside


class Index(BaseHTTPRequestHandler):
    """Answers every request with `status`."""

    status: int

    def do_GET(self):
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def index(monkeypatch):
    handler = type("Handler", (Index,), {"status": 200})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("PIP_INDEX_URL", f"http://somebody:secret@{host}/simple")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def pip(monkeypatch):
    """What pip does, one call after another: exit code, and whether a connection broke."""
    told = []

    def answered(*_):
        told.append(None)
        return steps[len(told) - 1]

    steps = []
    monkeypatch.setattr(inside, "pip", answered)
    monkeypatch.setattr(inside, "AWAY_S", 0.1)
    monkeypatch.setattr(inside, "LOOK_S", 0.02)
    return steps, told


def test_a_connection_that_broke_says_nothing_of_the_project(index, pip):
    steps, told = pip
    steps += [(1, True), (0, False)]

    assert inside.install("x") == 0
    assert len(told) == 2


@pytest.mark.parametrize("status", [200, 401, 404])
def test_what_an_index_that_answers_does_not_have_is_not_tried_again(index, pip, status):
    steps, told = pip
    index.status = status
    steps += [(1, False)]

    assert inside.install("x") == 1
    assert len(told) == 1


@pytest.mark.parametrize("broken", [True, False])
def test_an_index_that_stays_away_is_nobodys_missing_package(index, pip, broken):
    steps, told = pip
    index.status = 503
    steps += [(1, broken)] * inside.TRIES

    with pytest.raises(SystemExit) as ended:
        inside.install("x")

    assert ended.value.code == inside.AWAY
    assert len(told) == inside.TRIES


def test_without_an_index_nothing_is_waited_for(pip, monkeypatch):
    steps, told = pip
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    steps += [(1, False)]

    assert inside.install("x") == 1
    assert len(told) == 1


@pytest.mark.parametrize(
    ("problem", "answers"),
    [
        (ssl.SSLCertVerificationError("missing Authority Key Identifier"), True),
        (ssl.SSLEOFError("EOF occurred in violation of protocol"), False),
        (ConnectionRefusedError(), False),
    ],
)
def test_a_certificate_that_this_python_does_not_take_is_an_answer(monkeypatch, problem, answers):
    """Else each package that an index with a private CA lacks would be the index's absence."""

    def fails(*_, **__):
        raise urllib.error.URLError(problem)

    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.setattr(urllib.request, "urlopen", fails)

    assert inside.index_answers() is answers
