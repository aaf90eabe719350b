"""Faults P04 to P07: hostile bytes are refused with a path, by PacketInvalid and nothing else."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.packets.__main__ import TARGET
from control_plane.packets.canonical import canonical_bytes, packet_sha256
from control_plane.packets.errors import PacketInvalid
from control_plane.packets.parse import MAX_BYTES, load_document, parse_packet, validate_packet
from control_plane.packets.schema import ContextPacket, json_schema

SPEC_PACKET = Path(__file__).parents[2] / "fixtures" / "spec-4.3-packet.json"
DOCUMENT = json.loads(SPEC_PACKET.read_bytes())
PUBLISHED = jsonschema.Draft202012Validator(json_schema())
WRONG = object()


def changed(path, value):
    """The packet of SPEC with one value replaced, added (a new key) or removed (WRONG)."""
    document = json.loads(SPEC_PACKET.read_bytes())
    *parents, last = path.split(".")
    place = document
    for key in parents:
        place = place[key]
    if value is WRONG:
        del place[last]
    else:
        place[last] = value
    return document


def paths_of(document):
    with pytest.raises(PacketInvalid) as caught:
        validate_packet(document, linting_rules={"standard-js"})
    return [path for path, _ in caught.value.errors]


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".removeprefix("."))
    else:
        yield path


def test_the_packet_of_the_specification_is_one():
    packet = parse_packet(SPEC_PACKET.read_bytes(), linting_rules={"standard-js"})

    assert packet.document() == DOCUMENT
    assert (
        packet_sha256(packet.document())
        == "1aa189d2e2eac1566c5b7c3ba6a7800315f45f357493ee9ab5afc1cc6b63d6d8"
    )
    PUBLISHED.validate(DOCUMENT)


def test_the_published_schema_is_the_models():
    assert json.loads(TARGET.read_bytes()) == json_schema(), "run `python -m control_plane.packets`"
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", list(leaves(DOCUMENT)))
def test_every_field_is_wanted(path):
    document = changed(path, WRONG)
    assert paths_of(document) == [path]
    assert not PUBLISHED.is_valid(document)


@pytest.mark.parametrize("path", list(leaves(DOCUMENT)))
@pytest.mark.parametrize("value", [None, 7, {}, True])
def test_no_field_takes_a_value_of_another_type(path, value):
    document = changed(path, value)
    if path == "quality_gates.coverage_minimum" and value == 7 and value is not True:
        assert paths_of(document) == [path]
        return
    found = paths_of(document)
    assert found
    assert all(each.startswith(path) for each in found)
    assert not PUBLISHED.is_valid(document)


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "hierarchy.x",
        "task_definition.x",
        "technical_context.x",
        "quality_gates.x",
        "communication_channel.x",
    ],
)
def test_an_unknown_field_is_refused_where_it_is(path):
    assert paths_of(changed(path, 1)) == [path]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", "2.0"),
        ("timestamp", "2025-11-23T14:00:00"),
        ("timestamp", "2025-02-31T14:00:00Z"),
        ("timestamp", "2025-11-23"),
        ("packet_id", "../../etc/passwd"),
        ("packet_id", "a\n"),
        ("packet_id", ""),
        ("hierarchy.assigned_agent_role", "Intern"),
        ("task_definition.priority", "high"),
        ("task_definition.priority", "URGENT"),
        ("task_definition.task_type", "CHORE"),
        ("task_definition.summary", "  "),
        ("task_definition.summary", "a\x00b"),
        ("task_definition.summary", "x" * 4001),
        ("task_definition.acceptance_criteria", []),
        ("quality_gates.coverage_minimum", "0.8"),
        ("quality_gates.coverage_minimum", -0.01),
        ("quality_gates.coverage_minimum", 1.01),
        ("quality_gates.coverage_minimum", 80),
        ("quality_gates.security_level", "NONE"),
        ("quality_gates.linting_rules", "no-such-rules"),
        ("quality_gates.testing_requirements", []),
        ("communication_channel.escalation_trigger", "IF_BLOCKED_0_MINUTES"),
        ("communication_channel.escalation_trigger", "IF_BLOCKED_1441_MINUTES"),
        ("communication_channel.escalation_trigger", "IF_BLOCKED_010_MINUTES"),
        ("communication_channel.escalation_trigger", "IF_BLOCKED_10_MINUTES\n"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path, value):
    assert paths_of(changed(path, value)) == [path]


@pytest.mark.parametrize(
    "line",
    ["", " ", "$(id)", "`id`", "; rm -rf /", "a && b", "pytest -q", "cat x | sh", "./run.sh"],
)
def test_a_testing_requirement_is_prose(line):
    assert paths_of(changed("quality_gates.testing_requirements", ["fine", line])) == [
        "quality_gates.testing_requirements[1]"
    ]


@pytest.mark.parametrize(
    "link", ["http://x/y", "file:///etc/passwd", "vector://", "ARCH://../x", "REQ-102", "arch://A"]
)
def test_a_requirement_link_has_a_scheme_that_we_resolve(link):
    assert paths_of(changed("task_definition.requirements_links", [link])) == [
        "task_definition.requirements_links[0]"
    ]


@pytest.mark.parametrize("minutes", [1, 9, 10, 99, 100, 999, 1000, 1399, 1400, 1439, 1440])
def test_the_escalation_trigger_is_one_minute_to_a_day(minutes):
    validate_packet(
        changed("communication_channel.escalation_trigger", f"IF_BLOCKED_{minutes}_MINUTES")
    )


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5])
def test_coverage_may_be_anything_from_none_to_all(value):
    assert (
        validate_packet(
            changed("quality_gates.coverage_minimum", value)
        ).quality_gates.coverage_minimum
        == value
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} x", "not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper"),
        (b'{"a": "' + b"x" * MAX_BYTES + b'"}', "at most"),
        (b'{"a": "\x01"}', "not JSON"),
    ],
)
def test_bytes_that_are_not_a_document_are_refused(data, says):
    with pytest.raises(PacketInvalid, match=says):
        parse_packet(data)


@pytest.mark.parametrize(
    ("data", "path", "says"),
    [
        (b'{"a": 1, "a": 1}', "a", "twice"),
        (b'{"a": {"b": [{"c": 1, "c": 2}]}}', "a.b[0].c", "twice"),
        (b'{"a": 1, "\\u0061": 2}', "a", "twice"),
        (b'{"a": ["x", "\\ud800"]}', "a[1]", "surrogate"),
        (b'{"\\udc00": 1}', '"\\udc00"', "surrogate"),
    ],
)
def test_an_ambiguous_document_is_refused_with_the_path(data, path, says):
    with pytest.raises(PacketInvalid, match=says) as caught:
        load_document(data)
    assert caught.value.errors[0][0] == path
    str(caught.value).encode()  # the message itself can be sent


def test_brackets_inside_text_are_not_nesting():
    assert load_document(b'{"a": "' + b"[" * 1000 + b'\\"[["}') == {"a": "[" * 1000 + '"[['}


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(PacketInvalid):
        parse_packet(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(list(leaves(DOCUMENT))), JSON_VALUES)
def test_whatever_is_put_into_a_field_is_taken_as_it_is_or_refused(path, value):
    document = changed(path, value)
    try:
        packet = validate_packet(document)
    except PacketInvalid:
        return
    assert packet.document() == document


def shuffled(value, order):
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(inner, order) for inner in value] if isinstance(value, list) else value


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_hash(order):
    assert packet_sha256(shuffled(DOCUMENT, order)) == packet_sha256(DOCUMENT)


def test_white_space_and_spelling_do_not_change_the_hash():
    spelt = (
        json.dumps(DOCUMENT, indent=7)
        .replace("0.8", "8.0e-1")
        .replace("Express", "\\u0045xpress")
        .encode()
    )
    assert packet_sha256(parse_packet(spelt).document()) == packet_sha256(DOCUMENT)


@given(st.sampled_from(list(leaves(DOCUMENT))), st.text())
def test_any_change_changes_the_hash(path, value):
    document = changed(path, value)
    if document == DOCUMENT:
        return
    assert packet_sha256(document) != packet_sha256(DOCUMENT)


def test_the_canonical_form_is_that_of_rfc_8785():
    document = {"b": [1.0, 1e21, 0.000001, -0.0], "a": '€\u001f/"', "\U0001f600": 1, "\ufb33": 2}
    assert (
        canonical_bytes(document)
        == '{"a":"€\\u001f/\\"","b":[1,1e+21,0.000001,0],"\U0001f600":1,"\ufb33":2}'.encode()
    )


def test_a_packet_cannot_be_changed():
    packet = parse_packet(SPEC_PACKET.read_bytes())
    with pytest.raises(ValueError, match="frozen"):
        packet.packet_id = "ctx_other"
    with pytest.raises(ValueError, match="frozen"):
        packet.task_definition.summary = "other"
    assert isinstance(packet, ContextPacket)
