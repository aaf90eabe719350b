"""Judges small changes for real, with `docker run` in the place of the orchestrator."""

import difflib
import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from quality_gates import dependencies
from quality_gates.judge import judge
from quality_gates.links import LINK, Links
from quality_gates.model import (
    Change,
    Environment,
    FileChange,
    GatePolicy,
    Stage,
    StageEvidence,
    StagePlan,
    TaskReport,
    ToolEvidence,
)
from quality_gates.plan import base_plan, plan

Tree = Mapping[str, str | bytes]
UID = 10001


def change_of(
    base: Tree,
    head: Tree,
    links: Mapping[str, str] | None = None,
    base_links: Mapping[str, str] | None = None,
) -> Change:
    """The change between two trees of plain files; `links` are head's, as text."""
    before, after = _bytes(base), _bytes(head)
    one, other = _modes(before, base_links or {}), _modes(after, links or {})
    old = {**before, **{path: text.encode() for path, text in (base_links or {}).items()}}
    new = {**after, **{path: text.encode() for path, text in (links or {}).items()}}
    paths = sorted(
        path
        for path in {*old, *new}
        if (old.get(path), one.get(path)) != (new.get(path), other.get(path))
    )
    files = tuple(_file(path, one, other, old.get(path), new.get(path)) for path in paths)
    base_view, head_view = Links(one, base_links or {}), Links(other, links or {})
    return Change(
        base_commit="0" * 40,
        patch_sha256=hashlib.sha256(repr((before, after)).encode()).hexdigest(),
        files=files,
        base_tree=one,
        head_tree=other,
        base_contents=_opened(before, base_view),
        head_contents=_opened(after, head_view),
        base_links=base_links or {},
        head_links=links or {},
        base_dependencies=_dependency_files(_opened(before, base_view)),
        head_dependencies=_dependency_files(_opened(after, head_view)),
    )


def _modes(files: Mapping[str, bytes], links: Mapping[str, str]) -> dict[str, str]:
    return {**dict.fromkeys(files, "100644"), **dict.fromkeys(links, LINK)}


def _opened(files: Mapping[str, bytes], links: Links) -> dict[str, bytes]:
    return {**files, **{name: files[path] for name, path in links.names.items()}}


def _dependency_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while names := dependencies.wanted(files, found):
        found |= {name: files[name] for name in names}
    return found


def _bytes(tree: Tree) -> dict[str, bytes]:
    return {
        path: content.encode() if isinstance(content, str) else content
        for path, content in tree.items()
    }


def _file(
    path: str,
    base: Mapping[str, str],
    head: Mapping[str, str],
    before: bytes | None,
    after: bytes | None,
) -> FileChange:
    added: list[int] = []
    removed: list[int] = []
    old, new = (before or b"").split(b"\n"), (after or b"").split(b"\n")
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            removed += range(i1 + 1, i2 + 1)
            added += range(j1 + 1, j2 + 1)
    return FileChange(
        path=path,
        base_mode=base.get(path),
        head_mode=head.get(path),
        base_blob=hashlib.sha1(before, usedforsecurity=False).hexdigest()
        if before is not None
        else None,
        head_blob=hashlib.sha1(after, usedforsecurity=False).hexdigest()
        if after is not None
        else None,
        added_lines=tuple(added) if after is not None else (),
        removed_lines=tuple(removed),
    )


class Lab:
    """One environment; base evidence is kept per base and policy, as the control plane does."""

    def __init__(self, folder: Path, image: str, environment: Path, facts: Environment) -> None:
        self._folder, self._image, self._env, self.facts = folder, image, environment, facts
        self._cache: dict[str, dict[Stage, StageEvidence]] = {}
        self._count = 0

    def judge(
        self, base: Tree, head: Tree, policy: GatePolicy | None = None, **more: object
    ) -> TaskReport:
        """Everything, from two trees to the report."""
        policy = policy or GatePolicy()
        change = change_of(base, head, **more)  # type: ignore[arg-type]
        return judge(
            change, policy, self.facts, self._image, self.evidence(base, head, change, policy)
        )

    def evidence(
        self, base: Tree, head: Tree, change: Change, policy: GatePolicy
    ) -> dict[Stage, StageEvidence]:
        """The stages' raw outputs."""
        key = repr((sorted(_bytes(base).items()), policy.linting_rules))
        missing = [] if key in self._cache else list(base_plan(change, policy, self.facts))
        stages = [*plan(change, policy, self.facts), *missing]
        with ThreadPoolExecutor(2) as pool:
            found = list(
                pool.map(lambda stage: self.run(stage, _bytes(base), _bytes(head)), stages)
            )
        by_stage = {evidence.stage: evidence for evidence in found}
        if missing:
            self._cache[key] = {stage: by_stage[stage] for stage in (Stage.BASE, Stage.BASE_STATIC)}
        return {**self._cache[key], **by_stage}

    def run(
        self, stage: StagePlan, base: dict[str, bytes], head: dict[str, bytes]
    ) -> StageEvidence:
        """One stage in one hardened container."""
        self._count += 1
        place = self._folder / f"{self._count}-{stage.stage}"
        tree = self._tree(stage, base, head)
        for path, content in tree.items():
            _write(place / "workspace" / path, content)
        for path, content in stage.inputs.items():
            _write(place / path.lstrip("/"), content)
        _write(
            place / "vsc/stage.json", json.dumps([asdict(tool) for tool in stage.tools]).encode()
        )
        shutil.copy(
            Path(__file__).parents[1] / "fixtures" / "gate_run_stage.py", place / "vsc/run_stage.py"
        )
        (place / "out").mkdir()
        for entry in (
            place / "workspace",
            place / "out",
            *(place / "workspace").rglob("*"),
            place / "vsc",
            *(place / "vsc").rglob("*"),
        ):
            shutil.os.lchown(entry, UID, UID)  # type: ignore[attr-defined]
        done = subprocess.run(
            self._command(stage, place), capture_output=True, check=False, timeout=900
        )
        return self._evidence(
            stage, place, tree, done.returncode, done.stderr.decode("utf-8", "replace")
        )

    def _tree(
        self, stage: StagePlan, base: dict[str, bytes], head: dict[str, bytes]
    ) -> dict[str, bytes]:
        one, other = (base, head) if stage.tree.side == "base" else (head, base)
        tree = {path: content for path, content in one.items() if path not in stage.tree.swapped}
        return tree | {path: other[path] for path in stage.tree.swapped if path in other}

    def _command(self, stage: StagePlan, place: Path) -> list[str]:
        mounts = [
            "-v",
            f"{place}/workspace:/workspace",
            "-v",
            f"{place}/out:/out",
            "-v",
            f"{place}/vsc:/vsc:ro",
        ]
        mounts += ["-v", f"{self._env}:/env:ro"] if stage.needs_environment else []
        return [
            "docker", "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:size=256m,exec", "--pids-limit",
            "256", "--memory", "2g", "--user", f"{UID}:{UID}", *mounts, "--entrypoint",
            "/opt/vsc/bin/python", self._image, "-I", "/vsc/run_stage.py",
        ]  # fmt: skip

    def _evidence(
        self, stage: StagePlan, place: Path, tree: dict[str, bytes], code: int, log: str
    ) -> StageEvidence:
        out = place / "out"
        (place / "log").write_text(log)
        results = (
            json.loads((out / "tools.json").read_text()) if (out / "tools.json").is_file() else {}
        )
        commands = {tool.name: tool.argv for tool in stage.tools}
        tools = {
            name: ToolEvidence(
                exit_code,
                timed_out,
                seconds,
                False,
                commands[name],
                log[-2000:] if exit_code else "",
            )
            for name, (exit_code, timed_out, seconds) in results.items()
        }
        altered = [
            path for path, content in tree.items()
            if not (at := place / "workspace" / path).is_file() or at.read_bytes() != content
        ]  # fmt: skip
        lines = (
            (out / "events.jsonl").read_text().splitlines()
            if (out / "events.jsonl").is_file()
            else []
        )
        try:
            events = tuple(json.loads(line) for line in lines)
        except ValueError:
            events = None
        outputs = {name: out / name for name in stage.outputs if (out / name).is_file()}
        return StageEvidence(
            stage.stage, "completed", "", code, tools, outputs, events, altered=tuple(altered)
        )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
