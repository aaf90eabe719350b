"""The runner with its bytecode beside its sources: compiled once, by its image's interpreter."""

import io
import marshal
import zipfile
from importlib import util
from importlib.machinery import SourceFileLoader
from typing import Any

_UNCHECKED_HASH = (1).to_bytes(4, "little")
"""Flags of a .pyc that is never compared with its source (PEP 552): both lie in one archive."""


def with_bytecode(packed: bytes, place: str) -> bytes:
    """`packed` with a `.pyc` after each `.py`, for the interpreter that runs this.

    `place` is where tracebacks look for it.

    Another interpreter passes over the bytecode, as its magic number is another, and takes the
    source.
    """
    compiled = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(packed)) as given,
        zipfile.ZipFile(compiled, "w", zipfile.ZIP_STORED) as archive,
    ):
        for member in given.infolist():
            source = given.read(member)
            archive.writestr(member, source)
            beside = zipfile.ZipInfo(f"{member.filename}c", member.date_time)
            beside.create_system, beside.external_attr = member.create_system, member.external_attr
            archive.writestr(beside, _pyc(source, f"{place}/{member.filename}"))
    return compiled.getvalue()


def sources(packed: bytes) -> dict[str, bytes]:
    """What of an archive is not bytecode. Raises zipfile.BadZipFile."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {
            name: archive.read(name) for name in archive.namelist() if not name.endswith(".pyc")
        }


def _pyc(source: bytes, path: str) -> bytes:
    code: Any = SourceFileLoader("", path).source_to_code(source, path)
    return util.MAGIC_NUMBER + _UNCHECKED_HASH + util.source_hash(source) + marshal.dumps(code)
