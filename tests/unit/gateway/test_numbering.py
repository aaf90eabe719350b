import pytest

from control_plane.gateway.numbering import Gap, StreamFull, fresh
from control_plane.gateway.ports import Chunk, Position

CAPS = {"stdout": 10, "tests": 10}


def test_chunks_go_on_where_their_stream_stands():
    new, after = fresh(
        {"stdout": Position(2, 5)}, [Chunk("stdout", 2, b"ab"), Chunk("tests", 0, b"x")], CAPS
    )

    assert [chunk.seq for chunk in new] == [2, 0]
    assert after == {"stdout": Position(3, 7), "tests": Position(1, 1)}


def test_a_chunk_that_is_known_is_dropped_whatever_it_says_now():
    new, after = fresh(
        {"stdout": Position(2, 5)}, [Chunk("stdout", 1, b"other"), Chunk("stdout", 2, b"n")], CAPS
    )

    assert [chunk.data for chunk in new] == [b"n"]
    assert after["stdout"] == Position(3, 6)


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
