"""Plays the tools that this machine's Python does not have, in their own words: they find nothing.

Called as `bin/python` of the image is called: options, then a module or a program. A file that is
not Python is an error where it is one for the real ones (`tests/docker/test_played_image.py`).
"""

import ast
import json
import re
import sys
from pathlib import Path

VERSION = "played"
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
TOOLS = ("pytest", "coverage")


def main(argv: list[str]) -> int:
    """Play whatever is asked for."""
    while argv[0].startswith("-") and argv[0] != "-m":
        argv = argv[1:]
    if argv[0] == "-m":
        return PLAYED[argv[1]](argv[2:])
    return PLAYED[Path(argv[0]).name]([argv[0], *argv[1:]])


def bandit(argv: list[str]) -> int:
    """Lines are counted, and files that do not parse are told."""
    files = argv[argv.index("--") + 1 :]
    errors = [
        {"filename": name, "reason": "syntax error while parsing AST from file"}
        for name in files
        if not parses(name)
    ]
    metrics = {name: {"loc": 0, "nosec": 0, "skipped_tests": 0} for name in files}
    report = {"errors": errors, "metrics": {**metrics, "_totals": {}}, "results": []}
    Path(argv[argv.index("-o") + 1]).write_text(json.dumps(report), encoding="utf-8")
    return 0


def semgrep(argv: list[str]) -> int:
    """Every file is scanned; half a file of Python is no error, nor is it to the real one."""
    files = argv[argv.index("--") + 1 :]
    paths = {"scanned": files}
    report = {"version": VERSION, "results": [], "errors": [], "paths": paths}
    print(json.dumps(report | {"skipped_rules": []}))
    return 0


def scan_secrets(argv: list[str]) -> int:
    """Every file is read."""
    output, files = argv[1], argv[2:]
    report = {"version": VERSION, "results": {}, "scanned": files, "errors": []}
    Path(output).write_text(json.dumps(report), encoding="utf-8")
    return 0


def prepare(argv: list[str]) -> int:
    """An environment that is this interpreter: what it lacks cannot be had."""
    program, step = argv
    root = Path(program).parents[1]
    if step == "start":
        start(root / "out" / "env")
    if step == "dependencies":
        recipe = json.loads((root / "vsc" / "prepare.json").read_text(encoding="utf-8"))
        wanted = [name_of(line) for line in recipe["runtime"] + recipe["test"]]
        if missing := [name for name in wanted if not borrow(name, root / "out" / "env")]:
            print("this machine's Python has no", *missing, file=sys.stderr)
            return 1
    if step == "tools":
        return 0 if all(borrow(name, root / "out" / "env") for name in TOOLS) else 1
    if step == "finish":
        notes = {"notes": ["played: this machine's own interpreter"], "installed": []}
        (root / "out" / "prepare.json").write_text(json.dumps(notes), encoding="utf-8")
    return 0


def start(target: Path) -> None:
    """`bin/python`, which is this interpreter."""
    (target / "bin").mkdir(parents=True)
    python = target / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (target / SITE).mkdir(parents=True)


def borrow(name: str, target: Path) -> bool:
    """Say that a distribution of this interpreter is in the environment, if it has it."""
    found = [*(Path(sys.executable).parents[1] / SITE).glob(f"{name}-[0-9]*.dist-info")]
    for folder in found:
        (target / SITE / folder.name).mkdir(exist_ok=True)
        for told in ("METADATA", "entry_points.txt"):
            if (folder / told).is_file():
                (target / SITE / folder.name / told).write_bytes((folder / told).read_bytes())
    return bool(found)


def name_of(requirement: str) -> str:
    """The folder's name of what a requirement asks for; its version is not looked at."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "_", found[0]).lower() if found else requirement


def parses(name: str) -> bool:
    """Whether a file is Python."""
    try:
        ast.parse(Path(name).read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


PLAYED = {
    "bandit": bandit,
    "semgrep": semgrep,
    "scan_secrets.py": scan_secrets,
    "prepare.py": prepare,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
