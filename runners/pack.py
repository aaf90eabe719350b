"""Packs the runner into one zipapp whose bytes depend on its sources only."""

import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_RUNNERS = Path(__file__).parent
_GATES = _RUNNERS.parent / "quality_gates"
_PACKED_GATES = ("__init__.py", "toolrun.py", "where.py")
_MAIN = b"import sys\n\nfrom runners.main import main\n\nsys.exit(main(sys.argv[1:]))\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@cache
def runner_pyz() -> bytes:
    """The zipapp: `python -I runner.pyz supervise|hydrate|dehydrate`.

    Stored, not compressed: the bytes must not depend on a zlib's version, and every start reads
    them.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(_sources()):
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            archive.writestr(member, source)
    return packed.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _MAIN
    for path in _RUNNERS.rglob("*.py"):
        if path != Path(__file__):
            yield f"runners/{path.relative_to(_RUNNERS).as_posix()}", path.read_bytes()
    for name in _PACKED_GATES:
        yield f"quality_gates/{name}", (_GATES / name).read_bytes()
