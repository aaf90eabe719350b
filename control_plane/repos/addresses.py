"""Which https addresses may be fetched from: no credentials, no private network.

The checked address is the one that is dialled.
"""

import asyncio
import ipaddress
import os
import re
import socket
from urllib.parse import urlsplit

from control_plane.public_addresses import IPAddress, is_public
from control_plane.repos.git import RepositoryError


class AddressRefused(RepositoryError):
    """The address is not one we fetch from; give another, or import from a path or an archive."""


async def check_url(url: str, *, allow_private: bool) -> dict[str, str]:
    """The git configuration that pins `url`'s host to the addresses that were checked.

    Raises AddressRefused.

    It also says which proxy git uses (none: the empty text), so that nobody but us reads the
    proxy variables. Behind a proxy the machine cannot resolve names: then the proxy decides, and
    only literal addresses are checked.
    """
    host, port = parse_url(url)
    literal, proxy = _literal(host), proxy_for(host)
    way = {"http.proxy": proxy}
    if allow_private or (literal is None and proxy):
        return way
    addresses = [literal] if literal else await _resolved(host, port)
    for address in addresses:
        if not is_public(address):
            raise AddressRefused(
                f"{host} leads to {address}, which is not a public address;"
                " import from a path or an archive"
            )
    pins = ",".join(f"[{a}]" if a.version == 6 else str(a) for a in addresses)
    return way if literal else {**way, "http.curloptResolve": f"{host}:{port}:{pins}"}


def parse_url(url: str) -> tuple[str, int]:
    """Host and port of an https address that says nothing else. Pure."""
    if any(ord(character) <= 32 or ord(character) > 126 for character in url) or "\\" in url:
        raise AddressRefused(
            "an address has only printable ASCII characters, and no spaces or backslashes"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise AddressRefused(f"not an address: {error}") from None
    if parts.scheme != "https" or not host:
        raise AddressRefused(
            "only https:// addresses are fetched; import anything else from a path or an archive"
        )
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            "an address must not carry credentials; clone it yourself and import the path"
        )
    if parts.query or parts.fragment:
        raise AddressRefused("an address of a repository has no query and no fragment")
    if _literal(host) is None and _numeric(host):
        raise AddressRefused(f"{host} is a number in disguise, not a host name")
    return host.rstrip("."), port


def _numeric(host: str) -> bool:
    last = host.rstrip(".").rpartition(".")[2]
    # decimal, octal, hexadecimal and short forms of IPv4
    return last.isdigit() or last.lower().startswith("0x")


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def proxy_for(host: str) -> str:
    """The proxy of an https address of `host`; empty: there is none, or NO_PROXY names the host.

    As curl reads them: the lower-case variable first, suffixes of names, `*`, and networks.
    """
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or ""
    bypass = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return "" if any(_bypassed(host, name) for name in re.split(r"[,\s]+", bypass)) else proxy


def _bypassed(host: str, name: str) -> bool:
    name = name.lower().strip(".").strip("[]")
    if not name or name == "*":
        return name == "*"
    literal = _literal(host)
    if literal is None:
        return host == name or host.endswith(f".{name}")
    try:
        return literal in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


async def _resolved(host: str, port: int) -> list[IPAddress]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AddressRefused(f"{host} cannot be found: {error.strerror or error}") from None
    literals = {literal for *_, target in found if (literal := _literal(str(target[0])))}
    if not literals:
        raise AddressRefused(f"{host} has no address; check its spelling")
    return sorted(literals, key=lambda address: (address.version, int(address)))
