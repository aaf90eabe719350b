"""Which package index this machine uses: its own pip is asked.

The index says where its files lie. No host is known to us.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
import sys
from collections.abc import Collection
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from control_plane.public_addresses import is_public

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_MAX_ANSWER_BYTES = 64 * 2**20

# pip's own reading of its configuration files, environment and defaults, for `pip install` as this
# machine would run it.
_QUESTION = """
import json
from pip._internal.commands import create_command
from pip._vendor import certifi
options, _ = create_command("install").parse_args(["pip"])
print(json.dumps({
    "index": options.index_url, "extra": options.extra_index_urls, "none": options.no_index,
    "cert": options.cert, "certifi": certifi.where(),
}))
"""


class NoPackageIndex(Exception):
    """No package index of the machine that a sandbox could use; the message says what to change."""


@dataclass(frozen=True, slots=True)
class PackageAccess:
    """What a `prepare` sandbox needs to install packages.

    Given to it as inputs, and kept nowhere else.
    """

    index_url: str
    extra_urls: tuple[str, ...]
    ca_bundle: bytes
    allow: tuple[str, ...]
    """`host:port` of the indexes, and of the files that they name.

    `,private` after those that lie in a private network.
    """


async def ask(python: str = sys.executable) -> PackageAccess:
    """Ask this machine's pip, then the index. Raises NoPackageIndex."""
    said = await _pip_says(python)
    if said["none"] or not said["index"]:
        raise NoPackageIndex(
            "pip is configured to use no index (no-index); "
            "set one, or vendor what the project needs"
        )
    urls = [_checked(url) for url in (said["index"], *said["extra"])]
    bundle = await asyncio.to_thread(_bundle, said["cert"], said["certifi"])
    indexes = {_host(url) for url in urls}
    hosts = set(indexes)
    context = ssl.create_default_context(cadata=bundle.decode(errors="ignore"))
    async with httpx.AsyncClient(verify=context, timeout=60.0) as client:
        for url in urls:
            hosts |= await _file_hosts(client, url)
    return PackageAccess(urls[0], tuple(urls[1:]), bundle, await allowed(indexes, hosts))


async def allowed(indexes: Collection[str], hosts: Collection[str]) -> tuple[str, ...]:
    """The entries of the door's allowlist.

    An index in a private network was put there by the machine's operator, and so were its files. A
    public index that names
    files in a private network gets no such trust: the door will refuse them.
    """
    private = {host for host in hosts if not await _public(host)}
    trusted = private if private & set(indexes) else set()
    return tuple(f"{host},private" if host in trusted else host for host in sorted(hosts))


async def _public(host: str) -> bool:
    name, _, port = host.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            name.strip("[]"), int(port), type=socket.SOCK_STREAM
        )
    except OSError:
        return True  # not known here: no more than a public name is allowed
    return all(is_public(ipaddress.ip_address(target[0])) for *_, target in found)


def file_hosts(page_url: str, content_type: str, body: bytes) -> set[str]:
    """`host:port` of every file that a project's page names, in JSON or HTML.

    Pure; files of http pages are left out.
    """
    if "json" in content_type:
        document = json.loads(body)
        links = [
            item.get("url", "") for item in document.get("files", []) if isinstance(item, dict)
        ]
    else:
        parser = _Links()
        parser.feed(body.decode(errors="replace"))
        links = parser.links
    absolute = [urljoin(page_url, link) for link in links if isinstance(link, str)]
    return {
        _host(url) for url in absolute if urlsplit(url).scheme == "https" and urlsplit(url).hostname
    }


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


async def _pip_says(python: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        python,
        "-c",
        _QUESTION,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise NoPackageIndex(
            f"{python} has no pip that answers: {err.decode(errors='replace').strip()[-500:]}"
        )
    said: dict[str, Any] = json.loads(out)
    return said


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise NoPackageIndex(
            "the package index of this machine's pip is not an https address; "
            "sandboxes only reach https"
        )
    if parts.username is not None or parts.password is not None:
        raise NoPackageIndex(
            "the package index of this machine's pip carries credentials in its address, "
            "and these must not enter a sandbox; "
            "use an index without them (a mirror on this machine, say)"
        )
    return url


def _host(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or 443}"


async def _file_hosts(client: httpx.AsyncClient, index: str) -> set[str]:
    """Where the index keeps its files, by the page of one project that every index has: pip."""
    page = f"{index.rstrip('/')}/pip/"
    try:
        async with client.stream(
            "GET", page, headers={"Accept": _ACCEPT}, follow_redirects=True
        ) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                # an extra index with projects of its own: its files lie beside it, or it must be
                # allowed by hand
                return set()
            answer.raise_for_status()
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise NoPackageIndex(
                        "the package index answers with more than can be a list of files"
                    )
            return {_host(str(answer.url))} | file_hosts(
                str(answer.url), answer.headers.get("content-type", ""), bytes(body)
            )
    except (httpx.HTTPError, ValueError) as error:
        raise NoPackageIndex(
            f"the package index of this machine's pip does not answer: {error}"
        ) from error


def _bundle(configured: str | None, certifi: str) -> bytes:
    """The certificates that this machine's pip trusts."""
    if configured:
        return Path(configured).read_bytes()
    system = ssl.get_default_verify_paths().cafile
    found = [Path(name) for name in (system, certifi) if name and Path(name).is_file()]
    return b"\n".join(path.read_bytes() for path in found)
