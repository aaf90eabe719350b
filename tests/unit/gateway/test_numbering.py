import pytest

from control_plane.gateway.numbering import Gap, StreamFull, fresh
from control_plane.gateway.ports import Chunk, Position, StreamCaps

CAPS = StreamCaps({"stdout": 10, "tests": 10}, rows=3)


def test_chunks_go_on_where_their_stream_stands():
    new, after = fresh(
        {"stdout": Position(2, 5)}, [Chunk("stdout", 2, b"ab"), Chunk("tests", 0, b"x")], CAPS
    )

    assert [chunk.seq for chunk in new] == [2, 0]
    assert after == {"stdout": Position(3, 7, 1), "tests": Position(1, 1, 1)}


def test_a_chunk_that_is_known_is_dropped_whatever_it_says_now():
    new, after = fresh(
        {"stdout": Position(2, 5)}, [Chunk("stdout", 1, b"other"), Chunk("stdout", 2, b"n")], CAPS
    )

    assert [chunk.data for chunk in new] == [b"n"]
    assert after["stdout"] == Position(3, 6, 1)


def test_a_gap_refuses_the_request_and_a_doubled_number_counts_once():
    with pytest.raises(Gap):
        fresh({}, [Chunk("stdout", 0, b"a"), Chunk("stdout", 2, b"c")], CAPS)
    assert len(fresh({}, [Chunk("stdout", 0, b"a"), Chunk("stdout", 0, b"b")], CAPS)[0]) == 1


def test_the_cap_is_the_last_byte_that_is_kept_and_a_stream_without_one_is_refused():
    assert (
        fresh({"stdout": Position(1, 9)}, [Chunk("stdout", 1, b"a")], CAPS)[1]["stdout"].size_bytes
        == 10
    )
    with pytest.raises(StreamFull):
        fresh({"stdout": Position(1, 9)}, [Chunk("stdout", 1, b"ab")], CAPS)
    with pytest.raises(StreamFull):
        fresh({}, [Chunk("stderr", 0, b"a")], CAPS)


def test_what_one_request_brings_of_a_stream_is_one_row_under_its_first_number():
    chunks = [Chunk("stdout", n, b"x") for n in range(5)]
    chunks.insert(2, Chunk("tests", 0, b"t"))

    rows, after = fresh({"stdout": Position(2, 2, 1)}, chunks, CAPS)

    assert rows == [Chunk("tests", 0, b"t"), Chunk("stdout", 2, b"xxx")]
    assert after == {"stdout": Position(5, 5, 2), "tests": Position(1, 1, 1)}


def test_rows_have_a_cap_and_a_refusal_says_where_the_streams_stand():
    before = {"stdout": Position(3, 3, 3)}
    with pytest.raises(StreamFull) as refused:
        fresh(before, [Chunk("stdout", 3, b"x")], CAPS)

    assert refused.value.positions == before
