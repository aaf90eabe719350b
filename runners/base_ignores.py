"""Which new files the base's own `.gitignore` files leave out, as a developer's `git add` would.

The agent's edits of them do not count.
"""

from collections.abc import Collection
from pathlib import Path

from runners.base_tree import BaseTree
from runners.git_private import PrivateGit
from runners.tree_rules import components, is_dot_git

_PROBE = b".vsc-probe"
_NAME = b".gitignore"


def ignored_by_base(base: BaseTree, scratch: Path, paths: Collection[bytes]) -> set[bytes]:
    """Those of `paths` that the base ignores.

    Git evaluates the rules in a work tree of ours that holds nothing but the base's `.gitignore`
    files.
    """
    rules = _rules_above(base, paths)
    if not rules:
        return set()
    work_tree = scratch / "ignores" / "tree"
    work_tree.mkdir(parents=True)
    for path in rules:
        target = Path(
            work_tree, *(part.decode("utf-8", "surrogateescape") for part in components(path))
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base.contents(path))
    asked: dict[bytes, set[bytes]] = {}
    for path in paths:
        asked.setdefault(_question(path), set()).add(path)
    judge = PrivateGit(scratch / "ignores", work_tree=work_tree)
    found = judge.run(
        "check-ignore",
        "--no-index",
        "-z",
        "--stdin",
        stdin=b"".join(path + b"\0" for path in asked),
        accept=(0, 1),
    )
    return set().union(*(asked[path] for path in found.split(b"\0")[:-1]))


def _rules_above(base: BaseTree, paths: Collection[bytes]) -> list[bytes]:
    """The base's ignore files that have a say on any of `paths`."""
    above: set[bytes] = {_NAME} if paths else set()
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory and (rule := directory + b"/" + _NAME) not in above:
            above.add(rule)
            directory = directory.rpartition(b"/")[0]
    return sorted(rule for rule in above if (base.file(rule) or ("",))[0] in ("100644", "100755"))


def _question(path: bytes) -> bytes:
    """What git is asked.

    Never a word of its own (`:`). A `.git` has no place in git's rules: its neighbour is asked for.
    """
    directory, slash, name = path.rpartition(b"/")
    return b"./" + directory + slash + (_PROBE if is_dot_git(name) else name)
