"""Who this installation is, and the places where its sandboxes run."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, Key


class Installation(Base):
    """One row: a database is one installation, whatever number of homes and engines it has."""

    __tablename__ = "installation"
    __table_args__ = (
        CheckConstraint("one", name="one_row"),
        CheckConstraint("letters ~ '^[a-z0-9]{3}$'", name="letters_form"),
    )

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    id: Mapped[UUID]
    letters: Mapped[str]
    """Begin the name of each of its sites."""
    created_at: Mapped[CreatedAt]


class Site(Base):
    """An engine and the orchestrators beside it, which share one home."""

    __tablename__ = "sites"
    __table_args__ = (
        UniqueConstraint("engine", "home"),
        CheckConstraint("name ~ '^[a-z0-9]{6}$'", name="name_form"),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    """In each of its sandboxes' name and label: the installation's letters, then three."""
    engine: Mapped[str]
    """What the engine calls itself."""
    home: Mapped[str]
    lease_until: Mapped[datetime]
    """Renewed by each of its orchestrators."""
    created_at: Mapped[CreatedAt]
