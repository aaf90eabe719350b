"""Files that are whole or not there, whenever the process that writes them dies."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; after a power cut it may be old, absent or empty.

    Raises OSError.
    """
    _replace(path, content, synced=False)


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, also when the machine dies. Waits for the disk, twice.

    Raises OSError.
    """
    _replace(path, content, synced=True)
    _sync_directory(path.parent)


def _replace(path: Path, content: bytes, *, synced: bool) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Have what was renamed in it on the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
