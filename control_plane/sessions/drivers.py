"""What an agent is, as a tagged union, and one table of what each kind needs and makes. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runners import protocol


class Product(StrEnum):
    """What a session leaves."""

    PATCH = "patch"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class CommandDriver:
    """The agent is a command: what it does to the workspace is the change."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


Driver = CommandDriver
"""The union of all drivers; a new kind joins here and in `KINDS`."""


@dataclass(frozen=True, slots=True)
class DriverKind:
    """A row of the table."""

    type: type[Driver]
    read: Callable[[Mapping[str, Any]], Driver]
    write: Callable[[Driver], dict[str, Any]]
    in_capsule: Callable[[Driver], protocol.Driver]
    needs_environment: bool
    """Whether its sandbox has the base's environment, so that it can run the project's tests."""
    inputs: Callable[[Driver], Mapping[str, str]]
    """Files that it finds beside the packet: path -> sha256 of a blob."""
    products: frozenset[Product]


def _read_command(document: Mapping[str, Any]) -> CommandDriver:
    return CommandDriver(tuple(document["argv"]), dict(document.get("environ", {})))


KINDS: Mapping[str, DriverKind] = {
    "command": DriverKind(
        type=CommandDriver,
        read=_read_command,
        write=lambda driver: {"argv": list(driver.argv), "environ": dict(driver.environ)},
        in_capsule=lambda driver: protocol.CommandDriver(driver.argv, dict(driver.environ)),
        needs_environment=True,
        inputs=lambda _: {},
        products=frozenset(Product),
    ),
}


def kind_of(driver: Driver) -> str:
    """The tag of a driver."""
    return next(tag for tag, kind in KINDS.items() if isinstance(driver, kind.type))


def kind(driver: Driver) -> DriverKind:
    """The row of a driver."""
    return KINDS[kind_of(driver)]


def driver_to_json(driver: Driver) -> dict[str, Any]:
    """The document for a row."""
    return {"kind": kind_of(driver), **kind(driver).write(driver)}


def driver_from_json(document: Mapping[str, Any]) -> Driver:
    """The driver that `driver_to_json` wrote down. Raises KeyError for another: a bug of ours."""
    return KINDS[document["kind"]].read(document)
