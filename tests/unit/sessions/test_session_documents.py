"""A document as a session's product: what is wrong is told with the path of each thing."""

import json

import pytest

from control_plane.sessions.documents import (
    DOCUMENT_BYTES,
    DOCUMENT_DEPTH,
    MOST_TOLD,
    SchemaUnusable,
    check_schema,
    wrong_with,
)

SCHEMA = {
    "type": "object",
    "required": ["title", "risks"],
    "additionalProperties": False,
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "risks": {"type": "array", "items": {"type": "object", "required": ["text"]}},
    },
}


def told(document, schema=SCHEMA):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return [(one.path, one.message) for one in wrong_with(content, schema)]


def test_a_document_that_fits_has_nothing_wrong():
    assert told({"title": "a", "risks": [{"text": "b"}]}) == []


def test_each_error_has_its_path():
    paths = [path for path, _ in told({"title": "", "risks": [{"text": "b"}, {}], "more": 1})]

    assert paths == ["$", "$.risks[1]", "$.title"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"NaN", b'{"title": Infinity}', b"[" * 100_000, b"\xef\xbb\xbf{}"],
    ids=["empty", "cut", "not UTF-8", "NaN", "infinity", "deep", "BOM"],
)
def test_what_is_no_json_is_told_and_not_raised(content):
    [(path, message)] = told(content)

    assert (path, message[:8]) == ("$", "not JSON")


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (b'{"title": "a", "title": "b", "risks": []}', "$.title", "given twice"),
        (b'{"title": "\\ud800", "risks": []}', "$.title", "half a surrogate"),
        (b'{"title": 1e999}', "$", "not JSON: the number 1e999 is too large"),
        (b'{"title": ' + b"9" * 5000 + b"}", "$", "not JSON: a number of 5000 digits"),
        (b" " * (DOCUMENT_BYTES + 1), "$", "not JSON: 1048577 bytes; at most 1048576"),
        (b"[" * (DOCUMENT_DEPTH + 1), "$", "not JSON: nested deeper than 64"),
    ],
    ids=["equal keys", "surrogate", "huge", "digits", "size", "depth"],
)
def test_what_two_parsers_could_read_in_two_ways_or_never_end_is_told(content, path, message):
    [(where, words)] = told(content)

    assert (where, words[: len(message)]) == (path, message)


def test_hostile_names_come_back_short_and_printable():
    wrong = told({"title": "a", "risks": [], "x\x00\n" * 1000: 1, "y": {"\x1b[0m": 1}})
    nested = told({"a\x00" * 1000: 1}, {"additionalProperties": {"type": "string"}})

    assert wrong
    assert nested
    for path, message in wrong + nested:
        assert (path + message).isprintable()
        assert max(len(path), len(message)) < 2000


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.org/schema.json"},
        {"properties": {"a": {"$ref": "other.json"}}},
        {"allOf": [{"$dynamicRef": "file:///etc/passwd"}]},
        {"properties": {"a": {"$ref": "#/$defs/none"}}, "$defs": {}},
        {"properties": {"a": {"$id": "https://example.org/", "$ref": "#/x"}}},
        {"$ref": "#/allOf/x", "allOf": [{}]},
        {"$ref": "#"},
    ],
    ids=["remote", "relative", "dynamic", "nowhere", "no index", "another base", "endless"],
)
def test_a_schema_that_does_not_stand_by_itself_is_refused_before_anybody_works(schema):
    with pytest.raises(SchemaUnusable):
        check_schema(schema)


def test_a_schema_may_refer_to_its_own_parts():
    schema = {"$id": "https://example.org/s", "$ref": "#/$defs/a", "$defs": {"a": {"minimum": 1}}}
    check_schema(schema)

    assert told(0, schema) == [("$", "0 is less than the minimum of 1")]


def test_no_reference_is_fetched_from_anywhere():
    schema = {"$ref": "https://example.org/schema.json"}

    with pytest.raises(Exception, match=r"example\.org"):
        wrong_with(b"{}", schema)


def test_a_flood_of_errors_is_cut_and_the_rest_is_never_made():
    lines = told({"title": "a", "risks": [{}] * 1000})

    assert len(lines) == MOST_TOLD + 1
    assert lines[-1] == ("$", f"more than {MOST_TOLD} errors")


def test_a_schema_that_is_none_is_refused_before_anybody_works():
    check_schema(SCHEMA)
    with pytest.raises(SchemaUnusable, match=r"\$\.type"):
        check_schema({"type": "no such type"})
