"""From a project's files to the recipe of its environment: pure, and the same files give the same key."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.repos.environments.declared import is_dependency_file, name_of, read, version_of
from quality_gates.layout import layout

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
    build_files: Mapping[str, str]
    """Base's build and dependency files -> sha256: they decide what a build does."""
    locked: tuple[str, ...] = ()
    """Versions that are tried first, `name==version`."""
    packages_before: str | None = None
    """Only packages that were uploaded before this time (ISO 8601): what was there when an old commit was made."""
    allow_builds: bool = False
    """Whether dependencies may come as source archives, which run code of their own when they are installed."""
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

    def key(self, image: str, program: bytes) -> str:
        """The name under which its archive is looked up: image, commands, requirements, and what steers the build."""
        document = [
            image,
            hashlib.sha256(program).hexdigest(),
            self.to_json(),
            dict(self.build_files),
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

    `base` and `judged` hold the contents of the files for which `is_dependency_file` is true;
    `tree` lists base (path -> mode).
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
        roots=layout(tree).roots,
        build_files={
            path: hashlib.sha256(content).hexdigest()
            for path, content in base.items()
            if is_dependency_file(path)
        },
        locked=declared.locked,
        packages_before=packages_before,
        allow_builds=allow_builds,
        notes=tuple(notes),
    )


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
    """Whether a build could find requirements: the word is there, or the project computes its metadata."""
    texts = [base.get(name, b"") for name in ("setup.py", "setup.cfg", "pyproject.toml")]
    return any(
        word in text
        for text in texts
        for word in (b"install_requires", b"dependencies", b"pbr", b"requirements")
    )
