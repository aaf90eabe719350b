"""Which new files the base's own `.gitignore` files leave out, as a developer's `git add` would. The agent's edits of them do not count."""

from collections.abc import Collection, Mapping
from pathlib import Path

from runners.git_private import PrivateGit
from runners.tree_rules import components, is_dot_git

_PROBE = b".vsc-probe"
_NAME = b".gitignore"


def ignored_by_base(
    git: PrivateGit, scratch: Path, base: Mapping[bytes, tuple[str, str]], paths: Collection[bytes]
) -> set[bytes]:
    """Those of `paths` that the base ignores.

    Git evaluates the rules in a work tree of ours that holds nothing but the base's `.gitignore` files.
    """
    rules = _rules_above(base, paths)
    if not rules:
        return set()
    work_tree = scratch / "ignores" / "tree"
    work_tree.mkdir(parents=True)
    for path, contents in zip(rules, _contents(git, [base[path][1] for path in rules]), strict=True):
        target = Path(work_tree, *(part.decode("utf-8", "surrogateescape") for part in components(path)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents)
    asked = {_question(path): path for path in paths}
    judge = PrivateGit(scratch / "ignores", work_tree=work_tree)
    found = judge.run(
        "check-ignore", "--no-index", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in asked), accept=(0, 1)
    )
    return {asked[path] for path in found.split(b"\0")[:-1]}


def _rules_above(base: Mapping[bytes, tuple[str, str]], paths: Collection[bytes]) -> list[bytes]:
    """The base's ignore files that have a say on any of `paths`."""
    above: set[bytes] = {_NAME} if paths else set()
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory and (rule := directory + b"/" + _NAME) not in above:
            above.add(rule)
            directory = directory.rpartition(b"/")[0]
    return sorted(rule for rule in above if base.get(rule, ("", ""))[0] in ("100644", "100755"))


def _question(path: bytes) -> bytes:
    """A `.git` has no place in git's rules: a neighbour stands for it."""
    directory, slash, name = path.rpartition(b"/")
    return directory + slash + _PROBE if is_dot_git(name) else path


def _contents(git: PrivateGit, blobs: list[str]) -> list[bytes]:
    answer = git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
    found, at = [], 0
    for _ in blobs:
        end = answer.index(b"\n", at)
        size = int(answer[at:end].split(b" ")[2])
        found.append(answer[end + 1 : end + 1 + size])
        at = end + 1 + size + 1
    return found
