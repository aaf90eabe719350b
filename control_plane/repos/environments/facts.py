"""What an environment really holds, read from its own files.

Nothing in it is executed, nothing claimed is believed.
"""

import configparser
from email.parser import BytesParser
from pathlib import Path

from packaging.utils import canonicalize_name

from control_plane.repos.environments.detect import EnvironmentRecipe
from quality_gates.model import Environment

PYTHON = "/env/bin/python"
_MAX_FILE_BYTES = 4 * 2**20


def environment(
    tree: Path, sha256: str, image: str, recipe: EnvironmentRecipe, notes: tuple[str, ...] = ()
) -> Environment:
    """The facts of an unpacked environment (`archive.Environments`).

    `notes` are what its preparation said, for people.
    """
    folders = sorted(tree.glob("lib/python3*/site-packages/*.dist-info"))
    installed = dict(filter(None, (_distribution(folder) for folder in folders)))
    plugins = sorted({name for folder in folders for name in _plugins(folder)})
    return Environment(
        sha256=sha256,
        image=image,
        python=PYTHON,
        own_pytest=recipe.declares_pytest and "pytest" in installed,
        pytest_plugins=tuple(plugins),
        installed=installed,
        notes=recipe.notes + notes,
    )


def _distribution(folder: Path) -> tuple[str, str] | None:
    metadata = BytesParser().parsebytes(_read(folder / "METADATA"), headersonly=True)
    name, version = metadata.get("Name"), metadata.get("Version")
    return (canonicalize_name(str(name)), str(version)) if name and version else None


def _plugins(folder: Path) -> list[str]:
    """The names under which a distribution offers itself to pytest."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # case matters
    try:
        parser.read_string(_read(folder / "entry_points.txt").decode())
    except (configparser.Error, ValueError):
        return []
    return list(parser["pytest11"]) if parser.has_section("pytest11") else []


def _read(path: Path) -> bytes:
    """The file, or nothing: a directory, a device behind a link, or too much for a text."""
    if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
        return b""
    return path.read_bytes()
