"""The embedded PostgreSQL: shared, adopted, restarted, closed to everybody else."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from control_plane.db import embedded as module
from control_plane.db.embedded import SYSTEM_USER, embedded
from control_plane.db.errors import DatabaseUnavailable

AS_ROOT = os.geteuid() == 0
HOLD = """
import asyncio, concurrent.futures.thread, encodings.ascii, encodings.idna, os, sys
from pathlib import Path
from control_plane.db.embedded import embedded
from control_plane.db.programs import installed

programs = installed().bin
# Drop what root may do. Only now: the interpreter may lie where nobody else can read it.
if len(sys.argv) > 2:
    os.setgroups([])
    os.setresgid(*[int(sys.argv[3])] * 3)
    os.setresuid(*[int(sys.argv[2])] * 3)
    os.umask(0o077)
    if not os.access(programs / "initdb", os.X_OK):
        sys.exit(print("unreachable"))

async def main():
    async with embedded(Path(sys.argv[1]), durable=False) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def home():
    path = Path(tempfile.mkdtemp(prefix="vsc-pg-"))
    path.chmod(0o711)
    yield path
    pid = running(path)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(path)


def running(home):
    return module._postmaster(home / "postgres" / "data")


@contextlib.contextmanager
def holder(home, *identity):
    """Another process that uses the server until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home), *identity],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(url, query):
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else None


async def answered(url, query):
    """The answer, as soon as there is a server to give it."""
    while True:
        with contextlib.suppress(psycopg.OperationalError):
            return ask(url, query)
        await asyncio.sleep(0.05)


async def test_the_last_one_out_stops_the_server(home):
    with holder(home) as other:
        url = other.stdout.readline().strip()
        pid = running(home)
        async with embedded(home, durable=False) as ours:
            assert (ours, running(home)) == (url, pid)
            other.communicate()  # the one that started it leaves first
            assert running(home) == pid
            assert ask(ours, "SELECT 1") == [(1,)]
    assert running(home) is None


async def test_the_first_of_two_to_leave_leaves_the_server_running(home):
    with holder(home) as other:
        other.stdout.readline()
        async with embedded(home, durable=False):
            pass
        assert running(home) is not None
        other.communicate()
    assert running(home) is None


async def test_many_that_start_at_once_share_one_server(home):
    async def use():
        async with embedded(home, durable=False) as url:
            await asyncio.sleep(0.2)
            return url, running(home)

    found = await asyncio.gather(*(use() for _ in range(4)))

    assert len(set(found)) == 1
    assert running(home) is None


async def test_a_server_whose_users_were_killed_is_adopted_with_its_data(home):
    with holder(home) as other:
        url = other.stdout.readline().strip()
        ask(url, "CREATE TABLE kept AS SELECT 42 AS n")
        pid = running(home)
        other.kill()
        other.wait()
    assert running(home) == pid

    async with embedded(home, durable=False) as ours:
        assert running(home) == pid
        assert ask(ours, "SELECT n FROM kept") == [(42,)]
    assert running(home) is None


async def test_a_killed_server_is_started_again_with_what_was_committed(home):
    async with embedded(home) as url:
        ask(url, "CREATE TABLE kept AS SELECT 42 AS n")
        pid = running(home)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            kept = await answered(url, "SELECT n FROM kept")
        assert running(home) != pid
        assert kept == [(42,)]
        assert ask(url, "SHOW fsync") == [("on",)]


async def test_a_server_that_is_just_stopping_is_waited_for_and_followed_by_another(home):
    with holder(home) as other:
        url = other.stdout.readline().strip()
        pid = running(home)
        other.kill()
        other.wait()
    async with await psycopg.AsyncConnection.connect(url.replace("+psycopg", "")) as guest:
        os.kill(pid, signal.SIGTERM)  # a smart shutdown: not before the last guest has gone
        while module._status(home / ("postgres") / "data") != "stopping":  # noqa: ASYNC110 -- a file, which signals nothing
            await asyncio.sleep(0.02)
        asyncio.get_running_loop().call_later(0.3, guest.pgconn.finish)
        async with embedded(home, durable=False) as ours:
            assert running(home) != pid
            assert ask(ours, "SELECT 1") == [(1,)]


async def test_a_pid_file_that_names_a_stranger_is_cleared(home):
    async with embedded(home, durable=False):
        pass
    # Written by the server's own user, as its file would be; the number is this very process's.
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home}/postgres/data\n0\n5432\n{home}\n\n  1 1\nready\n")
    if AS_ROOT:
        shutil.chown(pid_file, SYSTEM_USER)

    async with embedded(home, durable=False) as url:
        assert ask(url, "SELECT 1") == [(1,)]
        assert running(home) != os.getpid()


async def test_an_initdb_that_was_cut_short_is_done_again(home):
    half = home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    async with embedded(home, durable=False) as url:
        assert ask(url, "SELECT 1") == [(1,)]
    assert not half.exists()


async def test_nobody_else_gets_in(home):
    async with embedded(home, durable=False) as url:
        assert ask(url, "SHOW listen_addresses") == [("",)]
        assert ask(url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [
            ("scram-sha-256",)
        ]
        modes = {
            name: stat.S_IMODE((home / "postgres" / name).stat().st_mode)
            for name in ("data", "run", "password")
        }
        assert modes == {"data": 0o700, "run": 0o700, "password": 0o600}
        password = (home / "postgres" / "password").read_text()
        assert len(password) >= 40
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(url.replace(password, "guess"), "SELECT 1")
        owner = os.stat(f"/proc/{running(home)}").st_uid  # noqa: PTH116 -- a process, not a path that one could wait for
        assert owner == (pwd.getpwnam(SYSTEM_USER).pw_uid if AS_ROOT else os.geteuid())
        assert owner != 0


async def test_data_of_another_version_is_left_alone(home):
    async with embedded(home, durable=False):
        pass
    version = home / "postgres" / "data" / "PG_VERSION"
    version.write_text("17\n")

    with pytest.raises(DatabaseUnavailable, match="made by PostgreSQL 17 and we have 18: dump it"):
        async with embedded(home, durable=False):
            pass


async def test_a_lost_password_is_told_as_such(home):
    async with embedded(home, durable=False):
        pass
    (home / "postgres" / "password").write_text("something-else")

    with pytest.raises(DatabaseUnavailable, match="password was lost or changed"):
        async with embedded(home, durable=False):
            pass


async def test_a_path_too_long_for_a_socket_is_told_before_anything_is_made(home):
    with pytest.raises(DatabaseUnavailable, match="set VSC_HOME to a shorter path"):
        async with embedded(home / ("x" * 100), durable=False):
            pass


@pytest.mark.skipif(not AS_ROOT, reason="only root lends the server to another user")
async def test_a_place_that_the_system_user_cannot_reach_is_told_as_such(home):
    home.chmod(0o700)
    with pytest.raises(DatabaseUnavailable, match="chmod o\\+x"):
        async with embedded(home / "inner", durable=False):
            pass


@pytest.mark.skipif(not AS_ROOT, reason="elsewhere every other test runs as an ordinary user")
async def test_an_ordinary_user_runs_the_server_as_themselves(home):
    async with embedded(home, durable=False):
        pass  # makes the system user, if this machine has none yet
    user = pwd.getpwnam(SYSTEM_USER)
    theirs = home / "theirs"
    theirs.mkdir()
    os.chown(theirs, user.pw_uid, user.pw_gid)

    with holder(theirs, str(user.pw_uid), str(user.pw_gid)) as other:
        url = other.stdout.readline().strip()
        if url == "unreachable":
            pytest.skip("this checkout lies where an ordinary user cannot read it")
        assert ask(url, "SELECT current_user::text") == [("vsc",)]
        assert not (theirs / "programs").exists()
        assert os.stat(f"/proc/{running(theirs)}").st_uid == user.pw_uid  # noqa: PTH116 -- a process
        other.communicate()
    assert running(theirs) is None
