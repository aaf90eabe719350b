"""What an environment really holds, read from its layers' bytes.

Nothing in it is executed, nothing claimed is believed.
"""

import configparser
import re
from email.parser import BytesParser
from posixpath import dirname

from packaging.utils import canonicalize_name

from control_plane.repos.environments.detect import EnvironmentRecipe
from control_plane.repos.environments.layers import Layers
from quality_gates.model import Environment
from quality_gates.where import ENV

PYTHON = f"{ENV}/bin/python"


def environment(
    layers: Layers, image: str, recipe: EnvironmentRecipe, notes: tuple[str, ...] = ()
) -> Environment:
    """The facts of an environment. `notes` are what its preparation said, for people."""
    folders = sorted({dirname(path) for path in layers.metadata})
    told = (layers.metadata.get(f"{folder}/METADATA", b"") for folder in folders)
    installed = dict(filter(None, map(_distribution, told)))
    offered = (layers.metadata.get(f"{folder}/entry_points.txt", b"") for folder in folders)
    plugins = sorted({name for entry_points in offered for name in _plugins(entry_points)})
    return Environment(
        sha256=layers.sha256,
        image=image,
        python=PYTHON,
        own_pytest=recipe.declares_pytest and "pytest" in installed,
        pytest_plugins=tuple(plugins),
        installed=installed,
        notes=recipe.notes + notes,
        python_version=next(filter(None, map(_version, folders)), None),
        made=layers.made,
    )


def _version(folder: str) -> tuple[int, int] | None:
    found = re.search(r"(?:^|/)python([0-9]+)\.([0-9]+)/", folder)
    return (int(found[1]), int(found[2])) if found else None


def _distribution(content: bytes) -> tuple[str, str] | None:
    metadata = BytesParser().parsebytes(content, headersonly=True)
    name, version = metadata.get("Name"), metadata.get("Version")
    return (canonicalize_name(str(name)), str(version)) if name and version else None


def _plugins(entry_points: bytes) -> list[str]:
    """The names under which a distribution offers itself to pytest."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # case matters
    try:
        parser.read_string(entry_points.decode())
    except (configparser.Error, ValueError):
        return []
    return list(parser["pytest11"]) if parser.has_section("pytest11") else []
