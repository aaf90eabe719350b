"""A document as a session's product: what is wrong is told with the path of each thing."""

import json

import pytest

from control_plane.sessions.documents import (
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


def test_no_reference_is_fetched_from_anywhere():
    schema = {"$ref": "https://example.org/schema.json"}

    with pytest.raises(Exception, match=r"example\.org"):
        wrong_with(b"{}", schema)


def test_a_flood_of_errors_is_cut_with_their_number():
    lines = told({"title": "a", "risks": [{}] * 1000})

    assert len(lines) == MOST_TOLD + 1
    assert lines[-1] == ("$", f"{1000 - MOST_TOLD} more errors")


def test_a_schema_that_is_none_is_refused_before_anybody_works():
    check_schema(SCHEMA)
    with pytest.raises(SchemaUnusable, match=r"\$\.type"):
        check_schema({"type": "no such type"})
