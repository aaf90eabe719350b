"""The blobs that are kept, so that a collector knows what nothing names any more."""

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.db.base import Base, CreatedAt, sha256_check


class Blob(Base):
    """Bytes in the blob store; they are written before this row, and this row before any that names them."""

    __tablename__ = "blobs"
    __table_args__ = (sha256_check("sha256"), CheckConstraint("size_bytes >= 0", name="size_bytes_not_negative"))

    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    """What it is (`patch`, `output`, `report`, `archive`...); retention is a setting per kind."""
    created_at: Mapped[CreatedAt]
