"""The zero-setup PostgreSQL: our own initdb, password, private directory and supervision.

Several processes may use one data directory: the first starts the server, the last one out stops
it. Who uses it is told by shared locks, which the kernel drops when a process dies, so a server
whose users were all killed is adopted by the next one, or simply found running.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from filelock import lock_descriptor

from control_plane.db.errors import DatabaseUnavailable
from control_plane.db.programs import Programs, copied, installed

SYSTEM_USER = "vsc-postgres"
ROLE = "vsc"
DATABASE = "vsc"
_SOCKET_PATH_BYTES = 107 - len("/.s.PGSQL.5432")
_LOCK_WAIT_S = 120.0
_WATCH_EVERY_S = 2.0
_REMAINS_WAIT_S = 15.0
_READY_WAIT_S = 60.0
_log = logging.getLogger(__name__)

_CONFIGURATION = """\
# Written by vsc before each start; changes here are lost. Put your own into postgresql.conf.
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '64MB'
wal_level = minimal
max_wal_senders = 0
max_wal_size = '512MB'
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_rotation_age = '1d'
log_truncate_on_rotation = on
fsync = {durable}
synchronous_commit = {durable}
full_page_writes = {durable}
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """The system user that the server runs as; None: ours."""

    uid: int
    gid: int


@asynccontextmanager
async def embedded(home: Path, *, durable: bool = True) -> AsyncIterator[str]:
    """The URL of the server over `home/postgres`, which runs as long as somebody is inside.

    `durable` False trades safety against a power cut for speed; only for throw-away data.

    Raises:
        DatabaseUnavailable: it does not start; the message says why and what to do.
    """
    server = await asyncio.to_thread(_Server.at, home, durable=durable)
    with (server.root / "users").open("w") as users:
        async with _locked(server.root / "lock"):
            fcntl.flock(users, fcntl.LOCK_SH)  # a shared lock: `filelock` has none on a file
            await server.start()
            url = await server.url()
        watch = asyncio.create_task(_watch(server))
        try:
            yield url
        finally:
            watch.cancel()
            await asyncio.wait([watch])
            async with _locked(server.root / "lock"):
                if _alone(users):
                    await server.stop()


@dataclass(frozen=True, slots=True)
class _Server:
    root: Path
    sockets: Path
    programs: Programs
    owner: Owner | None
    durable: bool

    @classmethod
    def at(cls, home: Path, *, durable: bool) -> "_Server":
        owner = _owner()
        root = home.absolute() / "postgres"
        root.mkdir(mode=0o711 if owner else 0o700, parents=True, exist_ok=True)
        if owner:
            _refuse_closed_parents(root)
        return cls(
            root=root,
            sockets=_sockets(root, owner),
            programs=copied(home.absolute() / "programs") if owner else installed(),
            owner=owner,
            durable=durable,
        )

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def password(self) -> Path:
        return self.root / "password"

    @property
    def _configuration(self) -> Path:
        return self.root / "vsc.conf"

    async def url(self) -> str:
        """Connects through the socket; makes our database on the first time."""
        password = self.password.read_text(encoding="ascii")
        base = f"host={self.sockets} user={ROLE} password={password} connect_timeout=10"
        try:
            await asyncio.to_thread(_create_database, base)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL at {self.data} runs, but refuses us: {error}".strip()
                + f"; if {self.password} was lost or changed, restore it"
            ) from error
        host = quote(str(self.sockets), safe="")
        return f"postgresql+psycopg://{ROLE}:{quote(password)}@/{DATABASE}?host={host}"

    async def start(self) -> None:
        """Bring the server up, or wait until the one that runs over our data is ready.

        Call it under the lock.
        """
        deadline = asyncio.get_running_loop().time() + _READY_WAIT_S
        while _postmaster(self.data) is not None:
            if _status(self.data) == "ready":
                return
            # Starting, perhaps recovering; or stopping, and then we start the next one.
            if asyncio.get_running_loop().time() > deadline:
                raise DatabaseUnavailable(
                    f"the PostgreSQL over {self.data} is neither ready nor gone: "
                    f"see {self.data}/log"
                )
            await asyncio.sleep(0.05)
        if not (self.data / "PG_VERSION").exists():
            await self._initialise()
        self._check_version()
        await _clear_remains(self.data)
        configuration = _CONFIGURATION.format(
            sockets=self.sockets, durable="on" if self.durable else "off"
        )
        # Outside the data directory: as root we write nothing where the server's user could have
        # put a link.
        self._configuration.write_text(configuration)
        self._configuration.chmod(0o644)
        start_log = self.data / "start.log"
        start_log.unlink(missing_ok=True)
        await self._run(
            "pg_ctl", "start", "-w", "-t", "60", "-s", "-D", str(self.data), "-l", str(start_log)
        )

    async def stop(self) -> None:
        """Stop the server after a checkpoint; harmless when none runs. Call it under the lock."""
        if _postmaster(self.data) is not None:
            await self._run(
                "pg_ctl", "stop", "-w", "-t", "60", "-s", "-m", "fast", "-D", str(self.data)
            )

    async def _initialise(self) -> None:
        """Make the data directory under another name: one cut short is never taken for whole."""
        fresh, secret = self.root / "data.new", self.root / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        password = secrets.token_urlsafe(32)
        _write_private(secret, password)
        self._give(secret)
        locale = (
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        )
        sync = () if self.durable else ("--no-sync",)
        account = (f"--username={ROLE}", f"--pwfile={secret}", "--auth=scram-sha-256")
        await self._run(
            "initdb", "--no-instructions", f"--pgdata={fresh}", *account, *locale, *sync
        )
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\ninclude = '../vsc.conf'\n")
        secret.unlink()
        _write_private(self.password, password)
        fresh.rename(self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != self.programs.major:
            raise DatabaseUnavailable(
                f"{self.data} was made by PostgreSQL {found} and we have {self.programs.major}: "
                f"dump it with version {found} and restore it into a new directory, "
                "or set VSC_DATABASE_URL to a server of that version"
            )

    def _give(self, path: Path) -> None:
        if self.owner:
            os.chown(path, self.owner.uid, self.owner.gid)

    async def _run(self, program: str, *arguments: str) -> None:
        identity = (
            {"user": self.owner.uid, "group": self.owner.gid, "extra_groups": []}
            if self.owner
            else {}
        )
        # To a file, not a pipe: the server keeps what pg_ctl gave it, and a pipe would never see
        # its end.
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                str(self.programs.bin / program),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
                **identity,  # type: ignore[arg-type]  # typeshed knows `user` and `group` of Popen only
            )
            if await process.wait():
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise DatabaseUnavailable(f"{program} failed: {said[-2000:]} {self._why()}".strip())

    def _why(self) -> str:
        with contextlib.suppress(OSError):
            descriptor = os.open(self.data / "start.log", os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, errors="replace") as file:
                return file.read()[-2000:]
        return ""


async def _watch(server: _Server) -> None:
    """Start the server again if it dies while we need it. It looks after its own children."""
    while True:
        await asyncio.sleep(_WATCH_EVERY_S)
        if _postmaster(server.data) is None:
            _log.warning("the embedded PostgreSQL over %s has died; starting it again", server.data)
            try:
                async with _locked(server.root / "lock"):
                    await server.start()
            except (DatabaseUnavailable, OSError) as error:
                _log.error("%s; trying again", error)


def _create_database(base: str) -> None:
    with psycopg.connect(f"{base} dbname=postgres", autocommit=True) as connection:
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
        ).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the exclusive lock on `path`, which the kernel drops if we die."""
    with path.open("w") as file:
        deadline = asyncio.get_running_loop().time() + _LOCK_WAIT_S
        while not lock_descriptor(file.fileno(), blocking=False):
            if asyncio.get_running_loop().time() > deadline:
                raise DatabaseUnavailable(
                    f"another process holds {path} for {_LOCK_WAIT_S:.0f} s: is it stuck?"
                )
            await asyncio.sleep(0.02)
        yield


def _alone(users: IO[str]) -> bool:
    """Whether nobody else holds the shared lock."""
    return lock_descriptor(users.fileno(), blocking=False)


def _owner() -> Owner | None:
    """PostgreSQL refuses root, so root lends it a system user of ours.

    Everybody else runs it as themselves.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        entry = _create_user()
    return Owner(entry.pw_uid, entry.pw_gid)


def _create_user() -> pwd.struct_passwd:
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
    ]
    with contextlib.suppress(OSError):
        subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=False,
            capture_output=True,
        )
    try:
        return pwd.getpwnam(SYSTEM_USER)  # also when another process was quicker
    except KeyError:
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root and the system user {SYSTEM_USER} "
            "could not be made: create it"
            f" (`useradd --system {SYSTEM_USER}`), run vsc as another user, or set VSC_DATABASE_URL"
        ) from None


def _refuse_closed_parents(root: Path) -> None:
    for directory in root.parents:
        if not directory.stat().st_mode & 0o001:
            raise DatabaseUnavailable(
                f"the user {SYSTEM_USER} cannot pass {directory}: "
                "`chmod o+x` it, or set VSC_HOME to another place"
            )


def _sockets(root: Path, owner: Owner | None) -> Path:
    """A private directory for the socket. A path too long for one is refused."""
    sockets = root / "run"
    if len(os.fsencode(sockets)) > _SOCKET_PATH_BYTES:
        raise DatabaseUnavailable(
            f"{sockets} is too long for a Unix socket (at most {_SOCKET_PATH_BYTES} bytes): "
            "set VSC_HOME to a shorter path"
        )
    sockets.mkdir(mode=0o700, exist_ok=True)
    if owner:
        os.chown(sockets, owner.uid, owner.gid)
    return sockets


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _postmaster(data: Path) -> int | None:
    """The process id of the server over `data`: the pid file says so, and the process agrees."""
    pid = _pid_in_file(data)
    return pid if pid is not None and pid in _processes_in(data, [pid]) else None


def _pid_in_file(data: Path) -> int | None:
    try:
        first = (data / "postmaster.pid").read_text().split("\n", 1)[0]
        return abs(int(first))
    except (OSError, ValueError):
        return None


def _status(data: Path) -> str:
    """What the server says of itself in its pid file: `starting`, `ready`, `stopping`.

    Nothing: too early to say.
    """
    with contextlib.suppress(OSError, IndexError):
        return (data / "postmaster.pid").read_text().splitlines()[7].strip()
    return ""


def _processes_in(data: Path, candidates: list[int] | None = None) -> set[int]:
    """The processes (of all, or of `candidates`) that work in `data`: PostgreSQL's all do."""
    pids = candidates if candidates is not None else list(_all_pids())
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # gone, a zombie, or somebody else's
            if (Path("/proc") / str(pid) / "cwd").samefile(data):
                found.add(pid)
    return found


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


async def _clear_remains(data: Path) -> None:
    """Let a killed server's children end, then clear its pid file: its number may be a stranger's.

    Never the file first: it is what keeps a second server off memory that the first one's children
    still share.
    """
    if _pid_in_file(data) is None:
        return
    deadline = asyncio.get_running_loop().time() + _REMAINS_WAIT_S
    while remains := _processes_in(data):
        if asyncio.get_running_loop().time() > deadline:
            raise DatabaseUnavailable(
                f"processes {sorted(remains)} of a dead PostgreSQL over {data} do not end: "
                "kill them"
            )
        for pid in remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        await asyncio.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)
