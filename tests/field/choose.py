#!/usr/bin/env python3
"""Choose the corpus of `make field` by the written rule of docs/field.md; no verdict is asked for.

Usage: tests/field/choose.py [COUNT]    writes tests/fixtures/field.json

It walks `projects.txt` (names, the most downloaded first) and takes the first COUNT projects with
a pair of releases that satisfies the rule. Archives are read and never built or run. Why a project
was passed over is printed, one line each.
"""

import ast
import hashlib
import importlib.machinery
import importlib.util
import io
import itertools
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidSdistFilename, parse_sdist_filename
from packaging.version import Version

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "tests" / "fixtures" / "field.json"
KEPT = ROOT / "build" / "archives"

COUNT = 48
PAIRS_BACK = 6
"""How many pairs of a project are looked at, the newest first."""
PYTHON = "3.13"
"""The interpreter that every chosen release admits."""
MAX_FILES, MAX_BYTES = 3_000, 30 * 2**20
MIN_TESTS, MAX_CHANGED_LINES = 10, 1_500
_SIDE = re.compile(r"(^|/)(docs?|examples?|benchmarks?|scripts?|tools?)/")
_TEST = re.compile(r"(^|/)(test_[^/]*|[^/]*_test)\.py$")
_TEST_FOLDER = re.compile(r"(^|/)(tests?|testing)/")
_VERSION_FILE = re.compile(r"(^|/)(_?version|__version__|__about__|_pkg_info|setup|conftest)\.py$")

Files = Mapping[str, bytes]


def _index() -> ModuleType:
    """`scripts/fetch-archives`, whose questions to the index are ours too."""
    loader = importlib.machinery.SourceFileLoader(
        "fetch_archives", str(ROOT / "scripts/fetch-archives")
    )
    spec = importlib.util.spec_from_loader("fetch_archives", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class PassedOver(Exception):
    """The project does not satisfy the rule; the message says which sentence of it."""


def releases(files: Mapping[str, str]) -> list[tuple[Version, str]]:
    """Final releases with a source archive, the newest first."""
    found = {}
    for name in files:
        if not name.endswith(".tar.gz"):
            continue
        try:
            version = parse_sdist_filename(name)[1]
        except InvalidSdistFilename:
            continue
        if not version.is_prerelease and not version.is_postrelease:
            found[version] = name
    return sorted(found.items(), reverse=True)


def is_pure(files: Mapping[str, str], version: Version) -> bool:
    """The release has a wheel for any machine, and none for one."""
    wheels = [n for n in files if n.endswith(".whl") and n.split("-")[1] == str(version)]
    return bool(wheels) and all(n.endswith("-none-any.whl") for n in wheels)


def unpacked(archive: bytes) -> Files:
    """The regular files of an archive, without its first folder."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for one in members:
            if one.isfile() and len(found) <= MAX_FILES:
                path = str(PurePosixPath(*PurePosixPath(one.name).parts[1:]))
                found[path] = members.extractfile(one).read()  # type: ignore[union-attr] -- a file
    if len(found) > MAX_FILES or sum(map(len, found.values())) > MAX_BYTES:
        raise PassedOver("larger than the rule allows")
    return found


def is_test(path: str) -> bool:
    return bool(_TEST.search(path))


def is_product(path: str) -> bool:
    return path.endswith(".py") and not any(
        one.search(path) for one in (_SIDE, _TEST, _TEST_FOLDER, _VERSION_FILE)
    )


def tests_of(files: Files) -> set[tuple[str, str]]:
    """(file, name) of everything named like a test, by pytest's defaults."""
    found = set()
    for path, content in files.items():
        if is_test(path):
            for node in ast.walk(_parsed(content)):
                if isinstance(
                    node, ast.FunctionDef | ast.AsyncFunctionDef
                ) and node.name.startswith("test"):
                    found.add((path, node.name))
    return found


def _parsed(content: bytes) -> ast.AST:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def code_changed(old: bytes, new: bytes) -> bool:
    """Whether more than comments, docstrings and strings like a version's differ."""
    return _skeleton(old) != _skeleton(new)


def _skeleton(content: bytes) -> str:
    tree = _parsed(content)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def changed_lines(old: Files, new: Files) -> int:
    """Lines of Python that are on one side alone, counted without order."""
    total = 0
    for path in old.keys() | new.keys():
        if path.endswith(".py") and old.get(path) != new.get(path):
            before = set(old.get(path, b"").splitlines())
            after = set(new.get(path, b"").splitlines())
            total += len(before ^ after)
    return total


def satisfies(old: Files, new: Files) -> str | None:
    """None if the pair satisfies the rule, else the sentence of it that it does not."""
    if len(tests_of(old)) < MIN_TESTS:
        return f"the archive has fewer than {MIN_TESTS} tests"
    product = [p for p in old.keys() & new.keys() if is_product(p) and old[p] != new[p]]
    if not any(code_changed(old[p], new[p]) for p in product):
        return "no product code of the old release is changed"
    if not tests_of(new) - tests_of(old):
        return "no test is added"
    if (lines := changed_lines(old, new)) > MAX_CHANGED_LINES:
        return f"{lines} lines of Python change"
    return None


class Index:
    """The machine's own package index, by project."""

    def __init__(self) -> None:
        self._ask = _index()
        self._url = self._ask.index_url()

    def files(self, project: str) -> Mapping[str, str]:
        return self._ask.links(self._url, project)

    def archive(self, files: Mapping[str, str], name: str) -> bytes:
        kept = KEPT / name
        if not kept.is_file():
            with self._ask.opened(files[name].partition("#")[0], {}) as answer:
                body = answer.read(self._ask.MAX_BYTES + 1)
            if len(body) > self._ask.MAX_BYTES:
                raise PassedOver("larger than the rule allows")
            kept.write_bytes(body)
        return kept.read_bytes()


def pair_of(index: Index, project: str) -> dict[str, Any]:
    """The newest pair of consecutive releases that satisfies the rule."""
    files = index.files(project)
    known = releases(files)
    if len(known) < 2:
        raise PassedOver("fewer than two final releases with a source archive")
    if not is_pure(files, known[0][0]):
        raise PassedOver("not pure Python: it has wheels for one platform, or none")
    reason = ""
    for (new, new_file), (old, old_file) in list(itertools.pairwise(known))[:PAIRS_BACK]:
        new_bytes = index.archive(files, new_file)
        contents = unpacked(new_bytes)
        if len(tests_of(contents)) < MIN_TESTS:
            raise PassedOver(f"the archive has fewer than {MIN_TESTS} tests")
        if not admits(contents):
            raise PassedOver(f"it does not admit Python {PYTHON}")
        old_bytes = index.archive(files, old_file)
        reason = satisfies(unpacked(old_bytes), contents) or ""
        if not reason:
            return {
                "name": project,
                "old": _side(old, old_file, old_bytes),
                "new": _side(new, new_file, new_bytes),
            }
    raise PassedOver(f"none of its {PAIRS_BACK} newest pairs; of the oldest: {reason}")


def admits(files: Files) -> bool:
    """Whether `Requires-Python` of the archive's own metadata admits our interpreter."""
    told = re.search(rb"^Requires-Python:\s*(.+)$", files.get("PKG-INFO", b""), re.MULTILINE)
    try:
        return told is None or SpecifierSet(told[1].decode()).contains(PYTHON)
    except InvalidSpecifier:
        return False


def _side(version: Version, file: str, content: bytes) -> dict[str, str]:
    return {"version": str(version), "file": file, "sha256": hashlib.sha256(content).hexdigest()}


def chosen(index: Index, names: list[str], count: int) -> Iterator[dict[str, Any]]:
    found = 0
    for name in names:
        if found == count:
            return
        try:
            pair = pair_of(index, name)
        except PassedOver as reason:
            print(f"{name}: passed over: {reason}", flush=True)
        except (OSError, tarfile.TarError, EOFError) as problem:
            print(f"{name}: not to be had: {problem.__class__.__name__}", flush=True)
        else:
            found += 1
            print(f"{name}: {pair['old']['version']} -> {pair['new']['version']}", flush=True)
            yield pair


def main() -> int:
    KEPT.mkdir(parents=True, exist_ok=True)
    names = (HERE / "projects.txt").read_text().split()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    pairs = list(chosen(Index(), names, count))
    OUT.write_text(json.dumps(pairs, indent=1) + "\n")
    return 0 if len(pairs) == count else 1


if __name__ == "__main__":
    sys.exit(main())
