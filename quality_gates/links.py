"""Where the symbolic links of a tree lead, followed step by step as the kernel follows them.

Pure.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

LINK = "120000"
MAX_HOPS = 40
"""As many links in one way as Linux follows."""
MAX_NAMES = 20_000
"""More names than this through links, and a tree is not judged."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The end of a way: a path of the tree (`""`: its root), or why there is none."""

    path: str | None
    problem: str = ""
    leaves: bool = False
    """Whether it ends outside the tree."""


class _NoWay(Exception):
    def __init__(self, problem: str, leaves: bool) -> None:
        super().__init__(problem)
        self.problem, self.leaves = problem, leaves


def _require(holds: bool, problem: str, *, leaves: bool = False) -> None:
    if not holds:
        raise _NoWay(problem, leaves)


@dataclass(frozen=True)
class Links:
    """The links of one tree. `targets` holds the text of each."""

    tree: Mapping[str, str]
    """Path -> git's mode."""
    targets: Mapping[str, str]

    def follow(self, name: str) -> Lead:
        """Where a path ends when every link in it is followed."""
        here: list[str] = []
        way = name.split("/")[::-1]
        hops = 0
        try:
            while way:
                target = self._step(here, way.pop(), last=not any(way))
                if target is not None:
                    hops += 1
                    _require(hops <= MAX_HOPS, "leads round in a circle")
                    way += target.split("/")[::-1]
        except _NoWay as end:
            return Lead(None, end.problem, end.leaves)
        return Lead("/".join(here))

    def _step(self, here: list[str], part: str, *, last: bool) -> str | None:
        """Go one name further; the text of the link that lies there, if one does."""
        _require(part.lower() != ".git", "reaches into git's own", leaves=True)
        if part in {"", "."}:
            return None
        if part == "..":
            _require(bool(here), "leaves the repository", leaves=True)
            here.pop()
            return None
        path = "/".join([*here, part])
        mode = self.tree.get(path)
        if mode == LINK:
            target = self.targets.get(path)
            _require(target is not None, "has a target that cannot be read")
            _require(not str(target).startswith("/"), "leaves the repository", leaves=True)
            return target
        _require(mode is not None or path in self._folders, f"leads to {path!r}, which is not here")
        plain = mode is None or (last and mode.startswith("100"))
        _require(plain, f"leads through {path!r}, which is no folder of the tree")
        here.append(part)
        return None

    @cached_property
    def leads(self) -> Mapping[str, Lead]:
        """Link -> where it ends."""
        return {path: self.follow(path) for path, mode in self.tree.items() if mode == LINK}

    @property
    def names(self) -> Mapping[str, str]:
        """Every further name that links give to a plain file: name -> the file's own path.

        Names that only go round in a circle are left out: their files have shorter ones.
        """
        return self._named[0]

    @property
    def too_many(self) -> bool:
        """Whether there are more names than `MAX_NAMES`; the rest is not in `names`."""
        return self._named[1]

    @cached_property
    def _named(self) -> tuple[Mapping[str, str], bool]:
        found: dict[str, str] = {}
        for link, lead in sorted(self.leads.items()):
            for name, path in self._through(link, lead, frozenset()):
                if len(found) >= MAX_NAMES:
                    return found, True
                found[name] = path
        return found, False

    def _through(self, name: str, lead: Lead, above: frozenset[str]) -> Iterator[tuple[str, str]]:
        if lead.path is None or lead.path in above:
            return
        if self.tree.get(lead.path, "").startswith("100"):
            yield name, lead.path
            return
        prefix = f"{lead.path}/" if lead.path else ""
        for path in self._below(prefix):
            further = f"{name}/{path.removeprefix(prefix)}"
            if self.tree[path] == LINK:
                yield from self._through(further, self.leads[path], above | {lead.path})
            elif self.tree[path].startswith("100"):
                yield further, path

    def _below(self, prefix: str) -> Iterator[str]:
        for at in range(bisect_left(self._sorted, prefix), len(self._sorted)):
            if not self._sorted[at].startswith(prefix):
                return
            yield self._sorted[at]

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.tree)

    @cached_property
    def _folders(self) -> frozenset[str]:
        folders: set[str] = set()
        for path in self.tree:
            folder = path.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(folders)
