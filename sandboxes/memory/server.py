"""The engine's socket: one JSON document a line, a request and its answer, many on one connection.

A connection may hold a sandbox's name against all others; who dies lets go.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from sandboxes.errors import ImageMissing, SandboxError, SandboxStartFailed
from sandboxes.memory.engine import Engine

SOCKET = "engine.sock"
IMAGES = "images.json"
LINE_BYTES = 16 * 2**20
_VERBS = frozenset(
    {"create", "start", "wait", "settle", "terminate", "destroy", "name", "all"}
    | {"end", "refuse", "starts"}  # tests only
)


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """No other engine has this home meanwhile. Blocking. Raises OSError where one has."""
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        with FileLock(home / "engine.lock", timeout=0):
            yield
    except Timeout as taken:
        raise OSError(f"another engine is at work in {home}") from taken


def prepared(home: Path, images: Mapping[str, Path], *, lose: bool = False) -> Engine:
    """The engine of `home`, which is held. Blocking. Raises ValueError for a path too long."""
    named = {name: identity(folder) for name, folder in images.items()}
    (home / IMAGES).write_text(json.dumps(named), encoding="utf-8")
    (home / SOCKET).unlink(missing_ok=True)
    known = {identity(folder): folder.resolve() for folder in images.values()}
    return Engine(home.resolve(), known, lose=lose)


async def serve(engine: Engine, home: Path) -> None:
    """Answer at the home's socket until cancelled; one line on standard output says so."""
    engine.load()
    server = await asyncio.start_unix_server(_Desk(engine).talk, home / SOCKET, limit=LINE_BYTES)
    async with server:
        print("listening", flush=True)
        await server.serve_forever()


def image(home: Path, name: str) -> str:
    """The identity of an image of the engine of `home`, by its name.

    Raises ImageMissing.
    """
    try:
        known = json.loads((home / IMAGES).read_bytes())
        return str(known[name])
    except (FileNotFoundError, KeyError) as missing:
        raise ImageMissing(name, f"no engine of {home} was told of it (`--image`)") from missing


def identity(folder: Path) -> str:
    """An image by its content: every file below `folder`, which lies at `/opt/vsc`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return f"sha256:{digest.hexdigest()}"


class _Desk:
    """Answers connections."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # as long as somebody has the name, or waits for it
        self._names: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it hangs up."""
        async with contextlib.AsyncExitStack() as held:
            held.push_async_callback(_hang_up, writer)
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    answer = await self._answered(json.loads(line), held)
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()

    async def _answered(
        self, request: dict[str, Any], held: contextlib.AsyncExitStack
    ) -> dict[str, Any]:
        verb = request.pop("verb")
        try:
            if verb == "hold":
                return {"answer": {"held": await self._hold(held, **request)}}
            do = getattr(self._engine, verb) if verb in _VERBS else _unknown
            return {"answer": dict(await do(**request))}
        except SandboxStartFailed as error:
            return {"error": type(error).__name__, "fields": [error.image, error.reason]}
        except (SandboxError, ValueError, TypeError, KeyError, OSError) as error:
            return {"error": type(error).__name__, "fields": [str(error)]}

    async def _hold(self, held: contextlib.AsyncExitStack, name: str, within_s: float) -> bool:
        """Give the name to this connection, unless another has it for so long."""
        lock = self._names.get(name) or asyncio.Lock()
        self._names[name] = lock
        try:
            async with asyncio.timeout(within_s):
                await lock.acquire()
        except TimeoutError:
            return False
        held.callback(lock.release)
        return True


async def _unknown(**_: object) -> dict[str, Any]:
    raise ValueError("the engine has no such verb")


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
