"""The engine's answers and errors in our own words; no SDK object or SDK error passes this page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import docker
import docker.errors
import requests

from sandboxes.docker.images import tag_of
from sandboxes.docker.render import FINGERPRINT, INSTALL, NAME
from sandboxes.errors import (
    ImageMissing,
    NameTaken,
    ProviderUnavailable,
    SandboxStartFailed,
    SandboxUnknown,
)

_NEVER = datetime(1, 1, 2, tzinfo=UTC)
"""The engine writes year 1 for "not yet"."""


@dataclass(frozen=True, slots=True)
class Container:
    """What the engine knows of one container."""

    id: str
    name: str
    install: str
    fingerprint: str
    running: bool
    paused: bool
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    oom_killed: bool
    error: str


class Engine:
    """The few calls that a provider makes. Blocking; every failure is one of ours."""

    def __init__(self, client: docker.APIClient) -> None:
        self._client = client

    def create(self, name: str, config: dict[str, Any]) -> str:
        """Create a container and say its id. Raises ImageMissing, NameTaken, SandboxStartFailed."""
        with _ours(config["Image"]):
            config = {**config, "Image": self._image(config["Image"])}
            made = self._client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]  # the stubs lack it
            return str(made["Id"])

    def _image(self, image: str) -> str:
        """The engine's own id of an image that a spec names.

        Found anew each time: an image can be removed and built again under the same inputs.
        """
        name, is_reference, _ = image.partition("@")
        if not is_reference:
            return image
        found = self._client.inspect_image(tag_of(image))  # type: ignore[no-untyped-call]  # no stubs
        if (found["Config"].get("Labels") or {}).get("vsc.image") != name:
            raise ImageMissing(image, f"{tag_of(image)} is another image; run `make images`")
        return str(found["Id"])

    def start(self, container: str, image: str) -> None:
        """Start it; once more does nothing. Raises SandboxStartFailed."""
        with _ours(image):
            self._client.start(container)

    def find(self, reference: str) -> Container | None:
        """The container of that id or name, or None."""
        try:
            with _ours(reference):
                return _container(self._client.inspect_container(reference))
        except SandboxUnknown:
            return None

    def wait(self, container: str, timeout_s: float) -> bool:
        """Whether it stopped, or vanished, within the time."""
        try:
            with _ours(container):
                self._client.wait(container, timeout=timeout_s)  # type: ignore[arg-type]  # requests takes a float
        except _TimedOut:
            return False
        except SandboxUnknown:
            return True
        return True

    def kill(self, container: str, signal: str) -> None:
        """Send a signal, to a paused container too.

        One that does not run any more is left alone.
        """
        try:
            with _ours(container):
                self._client.kill(container, signal)
        except (SandboxUnknown, _Conflict):
            return
        found = self.find(container)
        if found and found.paused:  # a frozen process takes no signal
            with _ours(container):
                self._client.unpause(container)

    def remove(self, container: str) -> None:
        """Kill and remove it with its anonymous volumes.

        One that is gone, or going, is left alone.
        """
        try:
            with _ours(container):
                self._client.remove_container(container, v=True, force=True)
        except (SandboxUnknown, _Conflict):
            return

    def answers_anew(self) -> None:
        """Ask over a new connection: an engine that shuts down still serves those that it has.

        Raises ProviderUnavailable.
        """
        with _ours("?"):
            self._client.close()  # the idle ones only
            self._client.ping()

    def all(self, install: str) -> list[Container]:
        """Every container with the installation's label, whatever its state."""
        with _ours("?"):
            listed = self._client.containers(all=True, filters={"label": f"{INSTALL}={install}"})
        return [
            Container(
                id=one["Id"],
                name=one["Labels"].get(NAME, ""),
                install=one["Labels"].get(INSTALL, ""),
                fingerprint=one["Labels"].get(FINGERPRINT, ""),
                running=one["State"] in {"running", "paused"},
                paused=one["State"] == "paused",
                started_at=None,
                finished_at=None,
                exit_code=None,
                oom_killed=False,
                error="",
            )
            for one in listed
        ]


class EngineAway(ProviderUnavailable):
    """Nobody is there, which is more than being slow."""


class _Conflict(ProviderUnavailable):
    """409: the container is not in the state that the call needs."""


class _TimedOut(ProviderUnavailable):
    """No answer in the time given."""


@contextmanager
def _ours(image: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing(image, "the engine does not have it; run `make images`") from error
    except docker.errors.NotFound as error:
        if (
            "/start" in str(getattr(error.response, "url", ""))
            and "no such container" not in _said(error).lower()
        ):
            raise SandboxStartFailed(
                image, _said(error)
            ) from error  # the command is not in the image
        raise SandboxUnknown(_said(error)) from error
    except docker.errors.APIError as error:
        raise _named(error, image) from error
    except requests.exceptions.ReadTimeout as error:
        raise _TimedOut(
            "the Docker engine did not answer in time; is it overloaded? (`docker info`)"
        ) from error
    except (requests.exceptions.RequestException, docker.errors.DockerException) as error:
        if "Read timed out" in str(error):
            raise _TimedOut(
                "the Docker engine did not answer in time; is it overloaded? (`docker info`)"
            ) from error
        raise EngineAway(
            f"the Docker engine does not answer ({error}); start it and try again"
        ) from error


def _named(error: docker.errors.APIError, image: str) -> Exception:
    said, status = _said(error), error.status_code or 500
    if status == 409:
        return NameTaken(image, said) if "is already in use" in said else _Conflict(said)
    if (
        status < 500
        or "OCI runtime" in said
        or "runtime create failed" in said
        or "invalid mount config" in said
    ):
        return SandboxStartFailed(image, said)
    return ProviderUnavailable(f"the Docker engine failed: {said}")


def _said(error: docker.errors.APIError) -> str:
    return str(error.explanation or error)


def _container(found: dict[str, Any]) -> Container:
    state, its = found["State"], found["Config"].get("Labels") or {}
    running = bool(state["Running"])
    return Container(
        id=found["Id"],
        name=its.get(NAME, ""),
        install=its.get(INSTALL, ""),
        fingerprint=its.get(FINGERPRINT, ""),
        running=running,
        paused=bool(state.get("Paused")),
        started_at=_instant(state["StartedAt"]),
        finished_at=None if running else _instant(state["FinishedAt"]),
        exit_code=None if running else state["ExitCode"],
        oom_killed=bool(state["OOMKilled"]),
        error=state.get("Error") or "",
    )


def _instant(text: str) -> datetime | None:
    """RFC 3339 with nanoseconds, which `fromisoformat` cuts to microseconds; year 1 is None."""
    moment = datetime.fromisoformat(text)
    return moment if moment > _NEVER else None
