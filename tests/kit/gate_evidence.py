"""Raw outputs as the judge's sandboxes write them, consistent unless told otherwise."""

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

from quality_gates.model import Change, Environment, GatePolicy, Stage, StageEvidence, ToolEvidence
from quality_gates.parsers.junit import key_of
from quality_gates.paths import in_workspace
from quality_gates.plan import base_plan, plan
from quality_gates.trusted import NEVER_IMPORTED

ENVIRONMENT = Environment(
    "e" * 64, "sha256:image", "/env/bin/python", own_pytest=False, pytest_plugins=()
)
CANARY = {"::test_vsc_canary_first": "failed", "::test_vsc_canary_last": "failed"}
_JUNIT = {
    "failed": "<failure/>",
    "error": "<error/>",
    "skipped": "<skipped/>",
    "xfailed": "<skipped/>",
}


def events(outcomes, *, errors=(), exit_code=1, equals=(), details=None):
    """The stream of a whole session."""
    rows = [{"kind": "collected", "ids": list(outcomes)}]
    rows += [{"kind": "equals", "path": path, "name": name} for path, name in equals]
    rows += [{"kind": "error", "id": where, "detail": what} for where, what in errors]
    for nodeid, outcome in outcomes.items():
        told = {"detail": details[nodeid]} if nodeid in (details or {}) else {}
        rows += [
            {"kind": "started", "id": nodeid},
            {"kind": "finished", "id": nodeid, "outcome": outcome, "duration_s": 0.1, **told},
        ]
    return (
        (*rows, {"kind": "session", "exit_code": exit_code})
        if exit_code is not None
        else tuple(rows)
    )


def junit(outcomes):
    """The file that pytest writes."""
    cases = ""
    for nodeid, outcome in outcomes.items():
        classname, name = key_of(nodeid)
        cases += (
            f"<testcase classname={quoteattr(classname)} "
            f"name={quoteattr(name)}>{_JUNIT.get(outcome, '')}</testcase>"
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite '
        f'name="pytest">{cases}</testsuite></testsuites>'
    )


def session(outcomes, *, exit_code=1, **more):
    """Our plugin's report."""
    document = {
        "pytest": "9.2.0",
        "python": "3.13.5",
        "exit_code": exit_code,
        "outcomes": outcomes,
        "not_run": [],
        "errors": [],
        "disagreements": [],
        "overruled": [],
        "foreign": [],
    }
    return json.dumps({**document, **more})


def coverage(files):
    """Path -> (executed, missing)."""
    rows = {in_workspace(path): _lines(*pair) for path, pair in files.items()} | {
        NEVER_IMPORTED: _lines([], [1, 4, 6])
    }
    return json.dumps({"meta": {"version": "7.17.3", "format": 3}, "files": rows, "totals": {}})


def _lines(executed, missing):
    return {"executed_lines": executed, "missing_lines": missing, "excluded_lines": []}


class Evidence:
    """Writes outputs to files and hands out `StageEvidence`.

    Each part can be replaced or taken away.
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0

    def files(self, outputs):
        """Output name -> file; None leaves the output out."""
        self._count += 1
        place = self._folder / str(self._count)
        place.mkdir(parents=True)
        found = {}
        for name, content in outputs.items():
            if content is not None:
                (place / name).write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
                found[name] = place / name
        return found

    def tests(self, stage, outcomes, *, covered=None, exit_code=1, outputs=None, tool=None, **more):
        """A test stage in which everything agrees."""
        every = {**outcomes, **CANARY}
        written = {
            "junit.xml": junit(every),
            "session.json": session(every, exit_code=exit_code),
            "coverage.json": coverage(covered or {}),
            "coverage-pragmas.json": coverage(covered or {}),
        }
        tools = {"pytest": tool or ran(exit_code), "coverage": ran(), "coverage-pragmas": ran()}
        given = {"events": events(every, exit_code=exit_code), **more}
        return stage_evidence(stage, tools, self.files({**written, **(outputs or {})}), **given)

    def static(self, stage, change: Change, *, outputs=None, tools=None):
        """A static stage in which every tool ran over all it was given and found nothing."""
        of_base = stage is Stage.BASE_STATIC
        stages = (
            base_plan(change, GatePolicy(), ENVIRONMENT)
            if of_base
            else plan(change, GatePolicy(), ENVIRONMENT)
        )
        wanted = next(item for item in stages if item.stage is stage)
        read = {tool.name: files_of(tool) for tool in wanted.tools}
        nothing = {
            "ruff": lambda _: "[]",
            "ruff_honouring": lambda _: "[]",
            "bandit": lambda files: bandit([], files),
            "semgrep": lambda files: semgrep([], files),
            "secrets": lambda files: secrets({}, files),
        }
        written = {
            f"{name}.json": nothing[name.partition("-")[0]](files) for name, files in read.items()
        }
        started = {name: ran() for name in read}
        return stage_evidence(
            stage, {**started, **(tools or {})}, self.files({**written, **(outputs or {})})
        )


def ran(exit_code=0, **more):
    """A tool that ended by itself."""
    return ToolEvidence(
        **{
            "exit_code": exit_code,
            "timed_out": False,
            "duration_s": 0.5,
            "truncated": False,
            "argv": ("/tool",),
            **more,
        }
    )


def stage_evidence(stage, tools, outputs, **more):
    """A sandbox that ran to its end."""
    given = {"ended": "completed", "detail": "", "exit_code": 0, "events": (), **more}
    return StageEvidence(stage=stage, tools=tools, outputs=outputs, **given)


def bandit(results, scanned, errors=()):
    """The document of bandit."""
    rows = [
        {
            "test_id": rule,
            "issue_severity": severity,
            "filename": path,
            "line_number": line,
            "issue_text": "bad",
            "issue_cwe": {"id": 78},
        }
        for rule, severity, path, line in results
    ]
    problems = [{"filename": path, "reason": reason} for path, reason in errors]
    return json.dumps(
        {
            "results": rows,
            "errors": problems,
            "metrics": {**{name: {} for name in scanned}, "_totals": {}},
        }
    )


def semgrep(results, scanned, errors=()):
    """The document of semgrep."""
    rows = [
        {
            "check_id": f"rules.{rule}",
            "path": path,
            "start": {"line": line},
            "extra": {
                "severity": severity,
                "message": "bad",
                "metadata": {"cwe": ["CWE-95: Eval"]},
            },
        }
        for rule, severity, path, line in results
    ]
    problems = [
        {"path": path, "message": message, "level": "warn", "type": ["PartialParsing", []]}
        for path, message in errors
    ]
    return json.dumps(
        {
            "version": "1.182.0",
            "results": rows,
            "errors": problems,
            "paths": {"scanned": scanned},
            "skipped_rules": [],
        }
    )


def ruff(results, message="bad"):
    """The document of ruff."""
    return json.dumps(
        [
            {
                "code": code,
                "filename": path,
                "location": {"row": line},
                "noqa_row": line,
                "message": message,
            }
            for code, path, line in results
        ]
    )


def secrets(results, scanned=(), errors=(), *, allowed=False):
    """Our search's document; path -> (hash, line)."""
    rows = {
        path: [
            {
                "type": "Secret Keyword",
                "hashed_secret": hashed,
                "line_number": line,
                "allowed": allowed,
            }
        ]
        for path, (hashed, line) in results.items()
    }
    return json.dumps(
        {
            "version": "1.5.0",
            "results": rows,
            "scanned": list(scanned),
            "errors": [list(pair) for pair in errors],
        }
    )


def files_of(tool):
    """The files that a static tool is given."""
    return [word for word in tool.argv[1:] if word.startswith(("/workspace/", "/vsc/judge/alias/"))]
