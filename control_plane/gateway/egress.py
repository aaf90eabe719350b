"""May this sandbox reach that place? One canonical value is compared, resolved and dialled.

An allowlist entry is `host:port`, or `host:port,private` for a place inside the operator's own
network: without the word, a name that resolves to a private, loopback, link-local or otherwise
special address is refused.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control_plane.public_addresses import IPAddress, is_public

_HEAD = re.compile(
    rb"CONNECT (?P<authority>[!-~]+) HTTP/1\.[01]\r\n"
    rb"(?P<fields>(?:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*)\r\n"
)
_FIELD = re.compile(rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(?P<value>[^\r\n]*?)[ \t]*")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+):(?P<port>[1-9][0-9]{0,4})")
_LABEL = re.compile(r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""What resolvers read as a number: 2130706433, 127.1, 0x7f.1, 0177.0.0.1."""


class Malformed(Exception):
    """These bytes are not a CONNECT request as we read it.

    Nothing was decided about any destination.
    """


@dataclass(frozen=True, slots=True)
class Target:
    """A destination in its one canonical form.

    A lower-case name, or an address as `ipaddress` writes it.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, authority: str) -> "Target":
        """Read `host:port`.

        Raises Malformed for everything that two parsers could read in two ways.
        """
        found = _AUTHORITY.fullmatch(authority)
        if found is None or int(found["port"]) > 65535:
            raise Malformed("the destination is not host:port in plain ASCII")
        return cls(_canonical_host(found["host"].lower()), int(found["port"]))


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of an allowlist."""

    target: Target
    private: bool = False

    @classmethod
    def parse(cls, entry: str) -> "Allowed":
        """Read `host:port` or `host:port,private`.

        Raises Malformed: a bad entry must not become a wider one.
        """
        authority, comma, word = entry.partition(",")
        if comma and word != "private":
            raise Malformed(
                f"allowlist entry {entry!r}: only the word `private` may follow the comma"
            )
        return cls(Target.parse(authority), bool(comma))

    def __str__(self) -> str:
        return f"{self.target},private" if self.private else str(self.target)


def parse_connect(head: bytes) -> Target:
    """The destination of a CONNECT request, from its first byte to the empty line.

    Raises:
        Malformed: control characters, bare LF, folded lines, a body, or a Host that names another
            place than the target.
    """
    found = _HEAD.fullmatch(head)
    if found is None:
        raise Malformed("not a CONNECT request line with well-formed fields")
    target = Target.parse(found["authority"].decode("ascii"))
    for line in found["fields"].split(b"\r\n")[:-1]:
        _check_field(line, target)
    return target


def rule_for(target: Target, allowlist: Iterable[Allowed]) -> Allowed | None:
    """The entry that allows `target`, by exact comparison; None: denied."""
    return next((entry for entry in allowlist if entry.target == target), None)


def refusal(rule: Allowed, addresses: Sequence[IPAddress]) -> str | None:
    """Why the addresses behind an allowed name may not be dialled; None: they may.

    One bad address spoils the name.
    """
    if not addresses:
        return "the name has no address"
    if rule.private:
        return None
    inner = next((address for address in addresses if not is_public(address)), None)
    return None if inner is None else f"resolves to {inner}, which is not a public address"


def _canonical_host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError as error:
            raise Malformed("not an IPv6 address in the brackets") from error
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise Malformed("a numeric host must be four decimal numbers") from error
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Malformed("not a host name: empty, too long or ill-formed label")
    return host


def _check_field(line: bytes, target: Target) -> None:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Malformed("a header field is not `name: value`")
    name, value = found["name"].lower(), found["value"]
    if name in (b"transfer-encoding", b"content-length") and value != b"0":
        raise Malformed("a CONNECT request has no body")
    if name == b"host" and not _names(value, target):
        raise Malformed("Host names another place than the request's target")


def _names(value: bytes, target: Target) -> bool:
    text = value.decode("latin-1")
    for candidate in (text, f"{text}:{target.port}"):  # clients write it with the port and without
        try:
            if Target.parse(candidate) == target:
                return True
        except Malformed:
            continue
    return False
