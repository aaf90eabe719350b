"""Parsers of hostile outputs: a value or a ParseError, whatever the bytes are.

And a verdict that garbage cannot improve.
"""

import contextlib
import json

import pytest
from gate_evidence import bandit, coverage, junit, ruff, secrets, semgrep, session
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_gates.parsers import bandit as bandit_parser
from quality_gates.parsers import coverage as coverage_parser
from quality_gates.parsers import events as events_parser
from quality_gates.parsers import junit as junit_parser
from quality_gates.parsers import ruff as ruff_parser
from quality_gates.parsers import secrets as secrets_parser
from quality_gates.parsers import semgrep as semgrep_parser
from quality_gates.parsers import session as session_parser
from quality_gates.parsers.reading import ParseError, json_document, read

GOOD = {
    "bandit": (
        bandit_parser.parse,
        bandit([("B1", "LOW", "/workspace/a.py", 1)], ["/workspace/a.py"]),
    ),
    "coverage": (coverage_parser.parse, coverage({"a.py": ([1], [2])})),
    "junit": (junit_parser.parse, junit({"a.py::test": "failed"})),
    "ruff": (ruff_parser.parse, ruff([("F401", "/workspace/a.py", 1)])),
    "secrets": (
        secrets_parser.parse,
        secrets({"/workspace/a.py": ("ab", 1)}, ["/workspace/a.py"], [("/workspace/b", "no")]),
    ),
    "semgrep": (
        semgrep_parser.parse,
        semgrep([("r", "ERROR", "/workspace/a.py", 1)], ["/workspace/a.py"]),
    ),
    "session": (session_parser.parse, session({"a.py::test": "passed"})),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", GOOD)
def test_what_the_tool_writes_is_read(name):
    parse, content = GOOD[name]

    assert parse(content.encode())


@pytest.mark.parametrize("name", GOOD)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_value_or_a_parse_error(name, content):
    _only_parse_errors(GOOD[name][0], content)


@pytest.mark.parametrize("name", [name for name in GOOD if name != "junit"])
@given(document=JSON)
def test_any_json_is_a_value_or_a_parse_error(name, document):
    _only_parse_errors(GOOD[name][0], json.dumps(document).encode())


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=200)
@given(data=st.data())
def test_any_part_of_a_good_document_may_be_broken(name, data):
    parse, content = GOOD[name]
    if name == "junit":
        at = data.draw(st.integers(0, len(content) - 1))
        _only_parse_errors(
            parse, (content[:at] + data.draw(st.text(max_size=3)) + content[at + 1 :]).encode()
        )
    else:
        _only_parse_errors(parse, json.dumps(_mutated(json.loads(content), data)).encode())


def _mutated(value, data):
    if data.draw(st.integers(0, 4)) == 0:
        return data.draw(JSON)
    if isinstance(value, dict):
        return {
            key: _mutated(item, data) for key, item in value.items() if data.draw(st.integers(0, 9))
        }
    return [_mutated(item, data) for item in value] if isinstance(value, list) else value


@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["kind", "id", "ids", "outcome", "detail", "exit_code"]),
            JSON,
            max_size=4,
        ),
        max_size=5,
    )
)
def test_any_events_are_a_stream_or_a_parse_error(rows):
    _only_parse_errors(events_parser.parse, rows)


def _only_parse_errors(parse, content):
    with contextlib.suppress(ParseError):
        parse(content)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"\xff",
        b"9" * 5000,
        b"",
        b'{"results": 1}',
    ],
    ids=["depth", "NaN", "duplicate key", "not UTF-8", "a number too long", "empty", "wrong shape"],
)
def test_json_that_attacks_its_reader_is_refused(content):
    with pytest.raises(ParseError):
        bandit_parser.parse(content)


def test_xml_that_declares_entities_or_types_is_refused():
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><testsuite>&a;</testsuite>'
    outside = b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>'

    for content in (bomb, outside, b"<a>" * 1000, b"<testcase/>"):
        with pytest.raises(ParseError):
            junit_parser.parse(content)


def test_a_file_over_its_limit_is_refused(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 11)

    with pytest.raises(ParseError, match="larger than 10 bytes"):
        read(tmp_path / "big", 10)
    with pytest.raises(ParseError, match="no output"):
        read(None)
    with pytest.raises(ParseError, match="cannot be read"):
        read(tmp_path / "absent")


def test_json_documents_are_plain():
    assert json_document(b'{"a": [1, 2.5, "x", null]}') == {"a": [1, 2.5, "x", None]}


def test_an_event_after_the_end_is_refused():
    with pytest.raises(ParseError, match="after the session"):
        events_parser.parse([{"kind": "session", "exit_code": 0}, {"kind": "started", "id": "a"}])


def test_a_test_that_ends_twice_counts_as_its_worse_end():
    rows = [{"kind": "started", "id": "a"}, {"kind": "finished", "id": "a", "outcome": "failed"},
            {"kind": "finished", "id": "a", "outcome": "passed"}]  # fmt: skip

    assert events_parser.parse(rows).outcomes == {"a": "failed"}


def test_memory_addresses_do_not_make_another_test():
    assert events_parser.stable("t.py::x[<f at 0x7fffdeadbeef>]") == events_parser.stable(
        "t.py::x[<f at 0x7f00deadbeef>]"
    )


def test_a_password_that_bandit_quotes_is_not_repeated():
    row = {
        "test_id": "B105",
        "issue_severity": "LOW",
        "filename": "/workspace/a.py",
        "line_number": 1,
        "issue_text": "Possible hardcoded password: 'hunter2'",
    }
    document = {"results": [row], "errors": [], "metrics": {}}

    (hit,) = bandit_parser.parse(json.dumps(document).encode()).hits

    assert hit.message == "Possible hardcoded password: (hidden)"
