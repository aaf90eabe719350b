"""Whatever is put into an event or an audit line can be stored and hashed."""

import json

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from control_plane.db.storable import storable, storable_facts

TEXT = st.text(st.characters(codec=None))
NUMBERS = st.integers() | st.floats()
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.uuids() | st.datetimes() | st.binary() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, ANYTHING, max_size=4))
def test_anything_becomes_json_with_one_canonical_form(facts):
    stored = storable_facts(facts)
    text = json.dumps(stored, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")
    assert rfc8785.dumps(json.loads(text)) == rfc8785.dumps(stored)


@given(ANYTHING)
def test_what_can_be_stored_is_left_as_it_is(value):
    once = storable(value)
    assert storable(once) == once
