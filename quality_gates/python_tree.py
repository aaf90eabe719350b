"""What of a tree is Python: the one place that says which names the interpreter can import or run.

Tools, coverage and integrity all ask here. What a link is called counts, not what it leads to: the
interpreter goes by the name. What it would take and nobody can read is in `opaque.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from quality_gates.links import Links
from quality_gates.paths import is_product, is_python, is_python_script, is_regular


@dataclass(frozen=True)
class PythonTree:
    """One side of a change.

    `contents` may hold a few files only: it tells scripts by their first line.
    """

    tree: Mapping[str, str]
    """Path -> git's mode."""
    targets: Mapping[str, str]
    """Link -> its text."""
    contents: Mapping[str, bytes]

    @cached_property
    def links(self) -> Links:
        """Where its links lead."""
        return Links(self.tree, self.targets)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """Python by its name: name -> the plain file that holds the text.

        A file has as many names as links lead to it.
        """
        own = {path: path for path, mode in self.tree.items() if is_python(path, mode)}
        linked = {name: path for name, path in self.links.names.items() if is_python(name)}
        return own | linked

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """All Python: `modules`, and those of `contents` whose first line calls a Python."""
        scripts = {
            path: path
            for path, mode in self.tree.items()
            if path in self.contents
            and is_regular(mode)
            and is_python_script(path, self.contents[path])
        }
        return {**self.modules, **scripts}

    @cached_property
    def _names(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for name, path in self.links.names.items():
            found.setdefault(path, []).append(name)
        return {path: tuple(names) for path, names in found.items()}

    def names_of(self, path: str) -> tuple[str, ...]:
        """All names of what lies at `path`: its own, those through links, and all below a link."""
        below = (
            tuple(name for name in self.links.names if name.startswith(f"{path}/"))
            if path in self.targets
            else ()
        )
        return (path, *self._names.get(path, ()), *below)

    @cached_property
    def product(self) -> frozenset[str]:
        """The plain files that coverage is asked of.

        One of their names is a module of the product.
        """
        return frozenset(path for name, path in self.modules.items() if is_product(name))
