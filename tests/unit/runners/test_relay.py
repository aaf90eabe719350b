import socket
import threading
import time

import pytest

from runners.relay import Relay


class UnixServer:
    """Hands each accepted connection to `serve` on a thread of its own."""

    def __init__(self, path, serve):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(256)
        self.serve = serve
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection:
            self.serve(connection)


def read_all(connection):
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def answer_after_the_end(connection):
    """Speaks only when the other half is closed: half-close must pass through."""
    connection.sendall(b"got " + str(len(read_all(connection))).encode())


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


@pytest.fixture
def relay(tmp_path):
    servers = []

    def make(serve, **options):
        servers.append(UnixServer(tmp_path / "door", serve))
        relay = Relay(0, tmp_path / "door", **options)
        relay.start()
        return relay

    yield make
    for server in servers:
        server.listener.close()


def call(relay):
    return socket.create_connection(("127.0.0.1", relay.port), timeout=20)


def test_a_half_closed_connection_still_gets_its_answer(relay):
    with call(relay(answer_after_the_end)) as caller:
        caller.sendall(b"x" * 300_000)
        caller.shutdown(socket.SHUT_WR)

        assert read_all(caller) == b"got 300000"


def test_bytes_pass_unchanged_in_both_directions_at_once(relay):
    data = bytes(range(256)) * 20_000
    with call(relay(echo)) as caller:
        threading.Thread(
            target=lambda: (caller.sendall(data), caller.shutdown(socket.SHUT_WR)), daemon=True
        ).start()

        assert read_all(caller) == data


def test_a_slow_reader_does_not_fill_the_memory_nor_hold_up_others(relay):
    sent = threading.Event()

    def pour(connection):
        if connection.recv(1) == b"p":
            connection.sendall(b"z" * 50_000_000)
            sent.set()
        else:
            connection.sendall(b"quick")

    here = relay(pour)
    with call(here) as slow, call(here) as quick:
        slow.sendall(b"p")
        time.sleep(0.3)
        quick.sendall(b"q")
        assert quick.recv(5) == b"quick"
        assert not sent.is_set()  # the writer waits for the reader, the bytes are not piled up here
        got = 0
        while got < 50_000_000:
            got += len(slow.recv(1 << 20))
        assert sent.wait(5)


def test_a_flood_of_callers_waits_in_line_and_all_are_served(relay):
    here = relay(echo, max_connections=4)
    answers = []

    def one(number):
        with call(here) as caller:
            caller.sendall(b"%d" % number)
            caller.shutdown(socket.SHUT_WR)
            answers.append(int(read_all(caller)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(answers) == list(range(60))


def test_callers_that_vanish_leave_their_places(relay):
    here = relay(echo, max_connections=2)
    for _ in range(20):
        caller = call(here)
        caller.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )  # a reset, not an end
        caller.sendall(b"x")
        caller.close()

    with call(here) as caller:
        caller.sendall(b"still here")
        assert caller.recv(100) == b"still here"


def test_an_early_answer_arrives_though_the_door_reads_no_more(relay):
    def refuse(connection):
        connection.recv(10)
        connection.sendall(b"413")

    with call(relay(refuse)) as caller:
        caller.sendall(b"x" * 10)
        assert read_all(caller) == b"413"


def test_a_door_that_is_away_is_an_end_and_comes_back(tmp_path):
    here = Relay(0, tmp_path / "door")
    here.start()
    with call(here) as caller:
        caller.sendall(b"GET")
        assert read_all(caller) == b""

    server = UnixServer(tmp_path / "door", echo)
    with call(here) as caller:
        caller.sendall(b"back")
        assert caller.recv(10) == b"back"
    server.listener.close()


def test_connect_and_only_that_goes_to_the_socket_for_leaving_where_there_is_one(relay, tmp_path):
    here = relay(lambda connection: connection.sendall(b"door " + connection.recv(99)))

    def answer(*pieces):
        with call(here) as caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                caller.sendall(piece)
                time.sleep(0.02)
            return read_all(caller)

    assert answer(b"CONNECT a:1") == b"door CONNECT a:1"
    leaving = UnixServer(
        tmp_path / "egress.sock",
        lambda connection: connection.sendall(b"egress " + connection.recv(99)),
    )
    assert answer(b"CONNECT a:1") == b"egress CONNECT a:1"
    assert answer(b"CON", b"NECT", b" ") == b"egress CONNECT "
    assert answer(b"CONNECTED") == b"door CONNECTED"
    assert answer(b"C", b"OPY") == b"door COPY"
    leaving.listener.close()


def test_a_caller_that_says_nothing_leaves_its_place_when_it_goes(relay):
    here = relay(echo, max_connections=1)
    call(here).close()

    with call(here) as caller:
        caller.sendall(b"x")
        assert caller.recv(10) == b"x"
