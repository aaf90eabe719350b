"""The rules as data: whole metadata, both kinds of example, one definition of request data."""

import ast
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from quality_gates import rules

EXAMPLES = Path(rules.__file__).parent / "examples"
RULES: list[dict[str, Any]] = [
    rule for text in rules.pack().values() for rule in yaml.safe_load(text)["rules"]
]
IDS = [rule["id"] for rule in RULES]


def by_id(rule: dict[str, Any]) -> str:
    return rule["id"]


def test_the_pack_has_many_rules_and_each_has_its_own_name():
    assert len(IDS) >= 30
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("rule", RULES, ids=by_id)
def test_a_rule_says_what_is_wrong_how_bad_and_what_to_do(rule):
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", rule["id"])
    assert rule["languages"] == ["python"]
    assert rule["severity"] in {"ERROR", "WARNING", "INFO"}
    assert len(rule["message"].split()) >= 10
    assert set(rule["metadata"]) == {"cwe", "owasp", "category", "confidence", "impact"}
    assert re.fullmatch(r"CWE-\d+", rule["metadata"]["cwe"])
    assert re.fullmatch(r"A(0[1-9]|10):2021 [A-Z].+", rule["metadata"]["owasp"])
    assert rule["metadata"]["category"] == "security"
    assert rule["metadata"]["confidence"] in {"LOW", "MEDIUM", "HIGH"}
    assert rule["metadata"]["impact"] in {"LOW", "MEDIUM", "HIGH"}


@pytest.mark.parametrize("rule", RULES, ids=by_id)
def test_a_rule_has_an_example_that_fails_and_one_that_passes(rule):
    text = (EXAMPLES / f"{rule['id']}.py").read_text()
    ast.parse(text)
    marks = re.findall(r"^\s*# (ruleid|ok): (\S+)$", text, re.MULTILINE)
    assert {kind for kind, _ in marks} == {"ruleid", "ok"}
    assert {name for _, name in marks} == {rule["id"]}


def test_no_example_without_a_rule():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(IDS)


def test_what_comes_from_the_request_is_the_same_in_every_rule_that_asks():
    sources = [
        rule["pattern-sources"]
        for rule in RULES
        if "request.$ATTRIBUTE" in str(rule.get("pattern-sources"))
    ]
    assert len(sources) >= 10
    assert all(source == sources[0] for source in sources)


def test_a_metavariable_that_is_constrained_is_bound_by_a_pattern():
    """A constraint on a name that no pattern binds is never met, so the rule would be silent."""
    for rule in RULES:
        names = set(re.findall(r"'metavariable': '(\$[A-Z]+)'", str(rule)))
        patterns = [
            text
            for text in _strings(rule)
            if not re.fullmatch(r"\$[A-Z]+", text) or "focus" in text
        ]
        assert all(any(name in text for text in patterns) for name in names), rule["id"]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [str(value)]


def test_the_packs_hash_names_its_bytes():
    pack = rules.pack()
    assert list(pack) == sorted(pack)
    assert all(re.fullmatch(r"python/[a-z_]+\.yaml", name) for name in pack)
    expected = hashlib.sha256(
        b"".join(f"{n}\0{len(c)}\0".encode() + c for n, c in pack.items())
    ).hexdigest()
    assert rules.pack_sha256() == expected
