"""From a project's files to the recipe of its environment. Pure."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any

from packaging.version import InvalidVersion, Version

from quality_gates.dependencies import name_of, read
from quality_gates.layout import layout
from quality_gates.paths import is_regular

_IN_IMAGE = frozenset({"setuptools", "wheel"})
"""Back ends whose wheels the image carries: a build with these needs no index."""


@dataclass(frozen=True, slots=True)
class EnvironmentRecipe:
    """What is installed and how.

    `roots` are the directories under which the project's own modules lie.
    """

    runtime: tuple[str, ...]
    test: tuple[str, ...]
    builds: bool
    """Whether the project itself is installed (editable): it says how it is built."""
    isolated_build: bool
    """Whether its build back end must come from the index."""
    dynamic: bool
    """Whether its runtime requirements are known only once it is built."""
    version: str
    roots: tuple[str, ...]
    locked: tuple[str, ...] = ()
    """Versions that are tried first, `name==version`."""
    packages_before: str | None = None
    """Only packages that were uploaded before this time (ISO 8601), for an old commit."""
    allow_builds: bool = False
    """Whether dependencies may come as source archives, which run code when they are installed."""
    notes: tuple[str, ...] = ()

    @property
    def fetches(self) -> bool:
        """Whether a package index is needed; if not, the sandbox has no egress at all."""
        return bool(self.runtime or self.test or self.isolated_build or self.dynamic)

    @property
    def declares_pytest(self) -> bool:
        """Whether the project brings its own pytest, by name or with a plugin."""
        return any(
            name == "pytest" or name.startswith("pytest-")
            for name in map(name_of, self.runtime + self.test)
        )

    def to_json(self) -> dict[str, Any]:
        """What `inside.py` is told, and what the key is made of."""
        return {
            "runtime": list(self.runtime),
            "test": list(self.test),
            "builds": self.builds,
            "isolated_build": self.isolated_build,
            "dynamic": self.dynamic,
            "version": self.version,
            "roots": list(self.roots),
            "fetches": self.fetches,
            "locked": list(self.locked),
            "packages_before": self.packages_before,
            "allow_builds": self.allow_builds,
        }

    def key(self, image: str, program: bytes, repository: str, commit: str) -> str:
        """The name under which its archive is looked up: image, commands, requirements.

        Where the project is built, its own code runs beside what is installed: then `repository`
        and base's `commit` are in the name too, so that no repository finds what
        another one's code has left. Notes quote the project's files; they stay with it likewise.
        """
        document = [
            image,
            hashlib.sha256(program).hexdigest(),
            self.to_json(),
            list(self.notes),
            [repository, commit] if self.builds else [],
        ]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def detect(
    base: Mapping[str, bytes],
    judged: Mapping[str, bytes],
    tree: Mapping[str, str],
    *,
    allow_builds: bool = False,
    packages_before: str | None = None,
) -> EnvironmentRecipe:
    """The recipe for base's build files and the judged tree's requirements.

    `base` and `judged` hold what `quality_gates.dependencies` reads of either; `tree` lists base
    (path -> mode).
    """
    declared = read(judged)
    backend = _backend(base)
    notes = [f"not taken: {line}" for line in declared.left_out]
    notes.append(f"test requirements: {declared.test_source or 'none declared'}")
    return EnvironmentRecipe(
        runtime=declared.runtime,
        test=declared.test,
        builds=backend is not None,
        isolated_build=backend is not None and not {name_of(line) for line in backend} <= _IN_IMAGE,
        dynamic=declared.dynamic and _asks_for_more(base),
        version=version_of(base),
        roots=layout(path for path, mode in tree.items() if is_regular(mode)).roots,
        locked=declared.locked,
        packages_before=packages_before,
        allow_builds=allow_builds,
        notes=tuple(notes),
    )


def version_of(files: Mapping[str, bytes]) -> str:
    """The version that the source archive states, for back ends that would ask git.

    `0.0.0` if it states none.
    """
    stated = BytesParser().parsebytes(files.get("PKG-INFO", b""), headersonly=True)
    try:
        return str(Version(str(stated.get("Version", ""))))
    except InvalidVersion:
        return "0.0.0"


def _backend(base: Mapping[str, bytes]) -> list[str] | None:
    """What the build needs (PEP 518.

    Setuptools where nothing is said), or None: the tree is not a project.
    """
    try:
        project = tomllib.loads(base.get("pyproject.toml", b"").decode())
    except (ValueError, RecursionError):
        project = {}
    system = project.get("build-system")
    if isinstance(system, dict):
        requires = system.get("requires", [])
        return (
            [line for line in requires if isinstance(line, str)]
            if isinstance(requires, list)
            else []
        )
    if "setup.py" in base or "setup.cfg" in base or "project" in project:
        return ["setuptools"]
    return None


def _asks_for_more(base: Mapping[str, bytes]) -> bool:
    """Whether a build could find requirements: the word is there, or metadata is computed."""
    texts = [base.get(name, b"") for name in ("setup.py", "setup.cfg", "pyproject.toml")]
    return any(
        word in text
        for text in texts
        for word in (b"install_requires", b"dependencies", b"pbr", b"requirements")
    )
