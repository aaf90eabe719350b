"""The gates around one scanner each, as data: `lint`, `bandit`, `semgrep` and `secrets`.

What they share is in `scanning.py`.
"""

from quality_gates import trusted
from quality_gates.gates.case import Case
from quality_gates.gates.scanning import (
    Scanned,
    Scanner,
    ScannerGate,
    broken_files,
    by_security_level,
    kept_by_base,
    live_secrets,
)
from quality_gates.linting import PROJECT, linting_rules
from quality_gates.parsers import bandit, ruff, secrets, semgrep
from quality_gates.parsers.scans import Hit
from quality_gates.paths import is_test_path
from quality_gates.project_rules import ALWAYS, project_rules
from quality_gates.selection import changed_python, changed_texts

_FETCHED_CODE_AND_LIVE_KEYS = frozenset({"unpickle-network-data", "cloud-key-in-source"})
"""Of our semgrep rules, those that a test does not need either."""
_ASSERT = "B101"
_NO_PYTHON = "the change leaves no Python file to scan"
_MOST_LISTED = 5000


def _no_assert_of_a_test(hit: Hit) -> bool:
    """An `assert` in a test is what tests are made of; everything else counts everywhere."""
    return not (hit.rule == _ASSERT and is_test_path(hit.path))


def _rules(case: Case, _: Scanned) -> dict[str, object]:
    if case.policy.linting_rules != PROJECT:
        return {"rules": list(linting_rules(case.policy.linting_rules)) or "ruff's own defaults"}
    chosen = project_rules(case.change.base_contents)
    if not chosen.source:
        return {"rules": list(ALWAYS)}
    return {"rules": list(chosen.codes), "settings": f"{chosen.source} at base"}


def _read(_: Case, found: Scanned) -> dict[str, object]:
    return {"scanned": sorted(found.covered or ())[:_MOST_LISTED]}


def _read_by_our_rules(case: Case, found: Scanned) -> dict[str, object]:
    return _read(case, found) | {"rule_pack_sha256": trusted.rule_pack_sha256()}


def _allow_listed(_: Case, found: Scanned) -> dict[str, object]:
    return {"allow_listed": sum(hit.allowed for hit in found.head)}


SCANNER_GATES = (
    # No new finding under the rules that the task names, whatever a comment says. Where it names
    # none: the rules that the project has chosen at base, of kinds that base does not break.
    ScannerGate(
        "lint",
        Scanner("ruff", ruff.parse),
        looks_at=changed_python,
        otherwise="the change leaves no Python file to lint",
        evidence=_rules,
        blocks=kept_by_base,
        by_message=True,
    ),
    # No new finding at or above the severity that the task's security level names. What is of the
    # tests alone is searched too, and shown.
    ScannerGate(
        "bandit",
        Scanner("bandit", bandit.parse),
        looks_at=changed_python,
        otherwise=_NO_PYTHON,
        evidence=_read,
        counts=_no_assert_of_a_test,
        blocks=by_security_level(),
        broken=broken_files,
    ),
    # Our own offline rules, by the same severity. A region that was not parsed was not searched.
    ScannerGate(
        "semgrep",
        Scanner("semgrep", semgrep.parse),
        looks_at=changed_python,
        otherwise=_NO_PYTHON,
        evidence=_read_by_our_rules,
        blocks=by_security_level(in_tests=_FETCHED_CODE_AND_LIVE_KEYS),
        broken=broken_files,
    ),
    # Nothing that looks like a secret is new, whether a comment allows it or not; in tests, nothing
    # that may be a live one.
    ScannerGate(
        "secrets",
        Scanner("secrets", secrets.parse),
        looks_at=changed_texts,
        otherwise="the change leaves no file to search",
        evidence=_allow_listed,
        blocks=live_secrets,
    ),
)
"""In the order of the report."""
