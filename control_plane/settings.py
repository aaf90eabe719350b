"""One page of settings, in classes: what each process needs, and nothing else.

Each is an environment variable with the prefix `VSC_`: `VSC_HOME`, `VSC_DATABASE_URL`... They are
read once, by the composition root. An unknown `VSC_` variable is not ours and is ignored; so is one
that only another process needs.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_CONNECTIONS = 10


def default_home() -> Path:
    """`/var/lib/vsc` for root, else `vsc` under the user's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/vsc")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "vsc"


def _one_name(path: Path) -> Path:
    """Rows and records name a home: by one name, whichever symlink leads there."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # the latter before Python 3.13
        raise ValueError(f"{path} cannot be followed: {error}; name another directory") from error


def _one_engine(engine: str) -> str:
    kind, colon, home = engine.partition(":")
    return f"{kind}{colon}{_one_name(Path(home))}" if home else engine


class GroundSettings(BaseSettings):
    """Where rows and bytes lie. Every process of an installation has the same."""

    model_config = SettingsConfigDict(env_prefix="VSC_", frozen=True, extra="ignore")

    home: Annotated[Path, AfterValidator(_one_name)] = Field(
        default_factory=default_home, validate_default=True
    )
    """Where everything lies that has no address: database, blobs, mirrors, doors, slots.

    Processes of one site share it, on one machine and under one user.
    """
    database_url: SecretStr | None = None
    """`postgresql+psycopg://...`, PostgreSQL 15 or later with pgvector.

    None: the embedded one under `home`.
    """
    blobs: str | None = Field(
        default=None, pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|/.+)$"
    )
    """Where large bytes lie: `s3://bucket/prefix`, or a directory's absolute path.

    None: the directory `blobs` under `home`. Homes that share a database have one store.
    """
    blobs_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """The S3 server, if it is not Amazon's. `http://` only where nobody can listen."""
    blobs_region: str = "us-east-1"
    """The bucket's region; most servers of one's own take any."""
    blobs_access_key_id: SecretStr | None = None
    """With `blobs_secret_access_key`. None: what AWS's own variables or the machine's role say."""
    blobs_secret_access_key: SecretStr | None = None
    """The secret of that key."""
    blobs_silence_s: float = Field(default=30.0, ge=1, le=600)
    """Seconds after which a blob store that says nothing does not answer."""

    @property
    def connections(self) -> int:
        """Connections to the database that are kept."""
        return _CONNECTIONS


class RetentionSettings(GroundSettings):
    """What is kept, and for how long."""

    keep_results_days: float = Field(default=365.0, gt=0)
    """Days after a run's end for its patch, document, report and capsules, and what these name."""
    keep_logs_days: float = Field(default=30.0, gt=0)
    """Days after a run's end for its logs."""
    keep_outputs_days: float = Field(default=30.0, gt=0)
    """Days after a run's end for what its stages were given and left."""
    keep_prepared_days: float = Field(default=30.0, gt=0)
    """Days for an environment or a snapshot that no run uses, and for results of a base commit."""
    keep_unnamed_hours: float = Field(default=48.0, ge=3)
    """Hours for a blob that no row names: an upload that no task used."""
    collect_hours: float = Field(default=6.0, ge=0)
    """Hours between two collections by the orchestrator. 0: only `vsc gc --now` collects."""


class BesideEngine(GroundSettings):
    """Which engine's site this is. Only the orchestrator asks the engine itself."""

    engine: Annotated[str, AfterValidator(_one_engine)] = Field(
        default="docker", pattern=r"^(docker|memory:/.+)$"
    )
    """Where sandboxes run: `docker`, the engine of this machine.

    For tests and demos, `memory:HOME`: the in-memory engine of that home, without isolation.
    """


class ApiSettings(BesideEngine):
    """The API: rows, blobs, and the mirrors under `home`, which it reads and writes.

    Importing a repository writes its mirror; submitting asks it which commit a revision is, and
    makes the snapshot of that: any home can begin what is queued. It needs git and no engine.
    """


class DoorSettings(BesideEngine):
    """Who stands behind a door."""

    sandbox_uid: int = Field(default=10001, ge=1000, le=2**31 - 1)
    """User and group id of the code inside a sandbox."""


class GatewaySettings(DoorSettings):
    """The gateway: rows, blobs, and the door directories under `home`, where it binds sockets.

    It runs beside the sandboxes, as the orchestrator's user. It needs no engine and no mirror.
    """


class EngineSettings(DoorSettings):
    """What whoever opens the engine needs."""

    image_python: str | None = None
    """The runner image for Python, as a spec names it: `python@...`, or an image id.

    None: the one whose tag matches the content of `runner_images/`.
    """
    tree_cache_bytes: int = Field(default=16 * 2**30, ge=2**20)
    """Bytes that unpacked repositories and environments may take on this machine.

    What live sandboxes use stays, whatever it takes.
    """

    site_lease_s: float = Field(default=60.0, ge=3, le=3600)
    """Seconds that an engine's site is taken for present; renewed at a third of it."""

    patch_bytes: int = Field(default=32 * 2**20, ge=2**10)
    """Bytes that all files of a change may have; with more it is refused."""


class OrchestratorSettings(EngineSettings, RetentionSettings):
    """The orchestrator: everything but an address to listen at."""

    workers: int = Field(default=4, ge=1, le=256)
    """Runs that this process drives side by side."""
    sandboxes: int = Field(default=8, ge=1, le=1024)
    """Sandboxes that live at once on this machine."""
    poll_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds between two looks at the queue when nothing wakes us."""
    lease_s: float = Field(default=30.0, ge=3, le=3600)
    """Seconds after which the run of a dead process is taken over; renewed at a third of it."""

    site_grace_s: float = Field(default=600.0, ge=0, le=86_400)
    """Seconds after its lease that a silent site is given up, and what it had begun with it."""

    judge_again: int = Field(default=2, ge=0, le=2)
    """How often a patch that could not be decided is judged again before a person looks at it."""

    @property
    def connections(self) -> int:
        """One for each run and each sandbox that may write at once."""
        return self.workers + self.sandboxes


class Settings(OrchestratorSettings, GatewaySettings, ApiSettings):
    """All three in one process."""
