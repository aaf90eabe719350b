"""The one way we run git: our configuration and environment only, with caps on time and output."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_CONFIG = Path(__file__).with_name("git.ini")
ATTRIBUTES = (
    "* -text !crlf !eol -ident -filter -working-tree-encoding -export-subst -export-ignore"
    " !diff !merge !whitespace\n"
)
"""For `$GIT_DIR/info/attributes`, which wins over every file of a repository.

Bytes stay as they are.
"""

# No proxy variables: `repos.addresses` reads those, and says in the configuration what it read.
_FETCH_ENVIRON = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)
_NO_MEMORY = re.compile(rb"[Oo]ut of memory|Cannot allocate memory|unable to create thread")
_READ_BYTES = 2**20
OBJECT_ID = re.compile(r"[0-9a-f]{40}")


class RepositoryError(Exception):
    """A repository cannot do what was asked; the message says what and why."""


class GitFailed(RepositoryError):
    """git said no; its words are in `stderr`."""

    def __init__(self, verb: str, exit_code: int, stderr: str) -> None:
        super().__init__(
            f"git {verb} failed ({exit_code}): {stderr.strip()[-2000:] or 'no message'}"
        )
        self.verb, self.exit_code, self.stderr = verb, exit_code, stderr


class GitLimit(RepositoryError):
    """git took too long or had too much to say; raise the limit or use a smaller repository."""


@dataclass(frozen=True, slots=True)
class GitLimits:
    """Caps on one git command."""

    time_s: float = 120.0
    output_bytes: int = 256 * 2**20
    file_bytes: int = 8 * 2**30
    """The largest file git may write (RLIMIT_FSIZE): a pack larger than this ends the command."""
    memory_bytes: int = 6 * 2**30
    """Address space (RLIMIT_AS), the parts of packs that are mapped included (`git.ini`)."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a git command said."""

    exit_code: int
    stdout: bytes
    stderr: str


DEFAULT_LIMITS = GitLimits()


class Git:
    """Runs git on one git directory of ours.

    Nothing that lies inside a repository can make it run a program.
    """

    def __init__(self, git_dir: Path, limits: GitLimits = DEFAULT_LIMITS) -> None:
        self.git_dir, self._limits = git_dir, limits

    async def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        index: Path | None = None,
        work_tree: Path | None = None,
        config: Mapping[str, str] | None = None,
        network: bool = False,
        limits: GitLimits | None = None,
        check: bool = True,
    ) -> Completed:
        """Run one git command. Raises GitFailed (unless `check` is off) and GitLimit.

        `config` goes by the environment: a proxy's address may hold a password, and `ps` shows
        arguments.
        """
        environ = git_environ(network=network) | {"GIT_DIR": str(self.git_dir)}
        environ |= _configured(config or {})
        if index is not None:
            environ["GIT_INDEX_FILE"] = str(index)
        if work_tree is not None:
            environ["GIT_WORK_TREE"] = str(work_tree)
        limits = limits or self._limits
        process = await asyncio.create_subprocess_exec(
            "prlimit", f"--fsize={limits.file_bytes}", f"--as={limits.memory_bytes}", "--core=0",
            "git", "--no-pager", "--literal-pathspecs", "--no-optional-locks", *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environ, cwd=work_tree or self.git_dir, start_new_session=True,
        )  # fmt: skip
        done = await _drive(process, arguments[0], stdin, limits)
        if check and done.exit_code != 0:
            raise GitFailed(arguments[0], done.exit_code, done.stderr)
        return done

    async def line(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> str:
        """The one line that the command prints."""
        return (await self.run(*arguments, stdin=stdin, index=index)).stdout.decode().strip()

    @contextlib.contextmanager
    def reading(self, *arguments: str, stdin: IO[bytes]) -> Iterator[IO[bytes]]:
        """What a git command prints, while it prints it: for more than memory holds.

        Blocking. Raises GitLimit when it took too long, GitFailed when it ended badly.
        """
        limits, late = self._limits, threading.Event()
        process = subprocess.Popen(
            (
                "prlimit",
                f"--fsize={limits.file_bytes}",
                f"--as={limits.memory_bytes}",
                "--core=0",
                "git",
                "--no-pager",
                *arguments,
            ),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_READ_BYTES,
            env=git_environ() | {"GIT_DIR": str(self.git_dir)},
            cwd=self.git_dir,
            start_new_session=True,
        )

        def end() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(limits.time_s, end)
        watchdog.daemon = True
        watchdog.start()
        try:
            assert process.stdout is not None  # noqa: S101 -- we asked for a pipe
            yield process.stdout
            if process.wait() != 0:
                raise GitFailed(arguments[0], process.returncode, "")
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()
            if late.is_set():
                raise GitLimit(f"git {arguments[0]} took longer than {limits.time_s:g} s") from None

    async def create(self) -> None:
        """Make the git directory, bare, with attributes that change no bytes."""
        self.git_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.run("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
        write_attributes(self.git_dir)


def _configured(config: Mapping[str, str]) -> dict[str, str]:
    """Configuration of one command, as git takes it from its environment."""
    pairs = [
        pair
        for n, (key, value) in enumerate(config.items())
        for pair in ((f"GIT_CONFIG_KEY_{n}", key), (f"GIT_CONFIG_VALUE_{n}", value))
    ]
    return {"GIT_CONFIG_COUNT": str(len(config)), **dict(pairs)} if config else {}


def write_attributes(git_dir: Path) -> None:
    """Neutralise what `.gitattributes` of any commit says, for this git directory."""
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text(ATTRIBUTES)


def git_environ(*, network: bool = False) -> dict[str, str]:
    """The whole environment of a git of ours."""
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(_CONFIG),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "https" if network else "file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_AUTHOR_DATE": "946684800 +0000",
        "GIT_COMMITTER_DATE": "946684800 +0000",
    }
    if network:
        environ |= {name: os.environ[name] for name in _FETCH_ENVIRON if name in os.environ}
    return environ


async def _drive(
    process: asyncio.subprocess.Process, verb: str, stdin: bytes, limits: GitLimits
) -> Completed:
    try:
        async with asyncio.timeout(limits.time_s):
            stdout, stderr, exit_code = await _talk(process, stdin, limits.output_bytes)
    except TimeoutError:
        raise GitLimit(f"git {verb} took longer than {limits.time_s:g} s") from None
    except ExceptionGroup as failures:
        if failures.subgroup(_TooMuch) is None:
            raise
        raise GitLimit(f"git {verb} printed more than {limits.output_bytes} bytes") from None
    finally:
        await _end(process)
    if exit_code == -signal.SIGXFSZ:
        raise GitLimit(f"git {verb} wrote a file larger than {limits.file_bytes} bytes")
    if exit_code != 0 and _NO_MEMORY.search(stderr):
        raise GitLimit(f"git {verb} needed more than {limits.memory_bytes} bytes of memory")
    return Completed(exit_code, stdout, stderr.decode(errors="replace"))


async def _talk(
    process: asyncio.subprocess.Process, stdin: bytes, max_bytes: int
) -> tuple[bytes, bytes, int]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_feed(process, stdin))
        stdout = tasks.create_task(_take(process.stdout, max_bytes))
        stderr = tasks.create_task(_take(process.stderr, 1 << 20, drop=True))
        exit_code = await process.wait()
    return stdout.result(), stderr.result(), exit_code


class _TooMuch(Exception):
    """More output than allowed."""


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 -- we asked for a pipe; for the type checker
    # git may fail before it has read everything
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
        process.stdin.close()


async def _take(
    stream: asyncio.StreamReader | None, max_bytes: int, *, drop: bool = False
) -> bytes:
    assert stream is not None  # noqa: S101 -- we asked for a pipe; for the type checker
    taken = bytearray()
    while chunk := await stream.read(1 << 18):
        taken += chunk
        if len(taken) > max_bytes:
            if not drop:
                raise _TooMuch
            del taken[:-max_bytes]
    return bytes(taken)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, whatever happened."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
