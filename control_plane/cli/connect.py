"""Which control plane a command speaks to: the one named, the one of this home, or its own."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from fastapi import FastAPI

from control_plane.api.app import create_app
from control_plane.auth.service import ensure_local_token, token_file
from control_plane.cli.address import announced_address
from control_plane.cli.client import Client
from control_plane.cli.errors import CliError, ServerError, UsageError
from control_plane.errors import ANSWERS
from control_plane.processes.api import open_reading
from control_plane.processes.local import open_company
from control_plane.services import Services
from control_plane.settings import Settings

_ANSWER_S = 60.0
_PROBE_S = 2.0
_OURS: tuple[type[Exception], ...] = (CliError, *ANSWERS)


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and where it leads (None: into this process)."""

    client: Client
    address: str | None


def make_home(home: Path) -> None:
    """The directory of everything, if it is not there. Raises UsageError."""
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{home} cannot be made ({error.strerror}); "
            "name a directory that you may write with VSC_HOME"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(
            f"{home} cannot be written; name a directory that you may write with VSC_HOME"
        )


@asynccontextmanager
async def connected(
    settings: Settings,
    server: str | None,
    token_path: Path | None,
    *,
    in_process: Literal["act", "read"] | None,
) -> AsyncIterator[Connection]:
    """A connection to `server`, else to this home's `vsc up`, else to one made in this process.

    That one may `act` (it drives what is queued), or only `read` what the home keeps.

    Raises:
        CliError: there is none, or it cannot be made.
    """
    address = server or os.environ.get("VSC_SERVER")
    if address is None:
        address = await running(settings.home)
    if address is not None:
        async with _http(address, await _token(settings.home, token_path)) as http:
            yield Connection(Client(http), address)
    elif in_process == "act" or (
        in_process == "read" and await asyncio.to_thread(settings.home.is_dir)
    ):
        async with _own(settings, acts=in_process == "act") as client:
            yield Connection(client, None)
    else:
        raise ServerError(
            "unreachable",
            "no control plane runs here; start one with `vsc up`, or name one with --server",
        )


@asynccontextmanager
async def _own(settings: Settings, *, acts: bool) -> AsyncIterator[Client]:
    """A control plane in this process; its API is called without a socket."""
    await asyncio.to_thread(make_home, settings.home)
    with platform_errors():
        async with _application(settings, acts=acts) as (app, services):
            async with services.sessions.begin() as session:
                path = await ensure_local_token(session, settings.home)
            token = (await asyncio.to_thread(path.read_text)).strip()
            transport = httpx.ASGITransport(app)
            async with _http("http://vsc.internal", token, transport) as http:
                yield Client(http)


@asynccontextmanager
async def _application(
    settings: Settings, *, acts: bool
) -> AsyncIterator[tuple[FastAPI, Services]]:
    if acts:
        async with open_company(settings) as company:
            yield company.app, company.services
    else:
        async with open_reading(settings) as services:
            yield create_app(services), services


@contextlib.contextmanager
def platform_errors() -> Iterator[None]:
    """Errors that say what to do become the command line's, also out of a task group."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, rest = group.split(_OURS)
        if ours is None or rest is not None:
            raise
        raise _told(_first(ours)) from group
    except _OURS as error:
        if isinstance(error, CliError):
            raise
        raise _told(error) from error


def _told(error: BaseException) -> CliError:
    return error if isinstance(error, CliError) else CliError(str(error))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def running(home: Path) -> str | None:
    """The address of a `vsc up` over this home that answers and takes its token."""
    address = await asyncio.to_thread(announced_address, home)
    if address is None:
        return None
    with contextlib.suppress(OSError, httpx.HTTPError, httpx.InvalidURL):
        token = (await asyncio.to_thread(token_file(home).read_text)).strip()
        async with _http(address, token) as http:
            answer = await http.get("/v1/runs", params={"limit": 1}, timeout=_PROBE_S)
            return address if answer.status_code == httpx.codes.OK else None
    return None


async def _token(home: Path, path: Path | None) -> str:
    if path is None and (given := os.environ.get("VSC_TOKEN")):
        return given.strip()
    try:
        return (await asyncio.to_thread((path or token_file(home)).read_text)).strip()
    except OSError as error:
        raise UsageError(
            f"the token cannot be read ({error}); `vsc up` says where it is: "
            "name it with --token-file or VSC_TOKEN"
        ) from error


def _http(
    address: str, token: str, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    # trust_env: a proxy of the environment has no business between an operator and the own machine
    return httpx.AsyncClient(
        base_url=address,
        headers={"authorization": f"Bearer {token}"},
        timeout=_ANSWER_S,
        transport=transport,
        trust_env=transport is None and not _is_local(address),
    )


def _is_local(address: str) -> bool:
    return httpx.URL(address).host in ("127.0.0.1", "::1", "localhost")
