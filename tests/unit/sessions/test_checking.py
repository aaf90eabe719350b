"""Hostile documents are checked in a process of their own, which ends however hostile they are."""

import asyncio
import json

import pytest

from control_plane.sessions import checking
from control_plane.sessions.checking import checked
from control_plane.sessions.documents import DOCUMENT_BYTES, Wrong

TOO_MUCH = [Wrong("$", "takes too much time or memory to check; make it smaller")]


async def test_the_same_is_told_as_without_another_process():
    schema = {"type": "object", "required": ["a"]}

    assert await checked(b'{"a": 1}', schema) == []
    assert await checked(b"{}", schema) == [Wrong("$", "'a' is a required property")]
    assert "not JSON" in (await checked(b"{", schema))[0].message


async def test_a_pattern_that_never_ends_ends_and_holds_nobody_up():
    schema, ticks = {"pattern": "^(a+)+$"}, []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    try:
        assert await checked(b'"' + b"a" * 60 + b'!"', schema, cpu_s=1) == TOO_MUCH
    finally:
        ticking.cancel()
    assert len(ticks) > 10, "the pattern would have held the interpreter"


async def test_a_document_that_explodes_in_memory_is_told():
    branch = {"items": {"type": "string"}}
    schema = {"anyOf": [branch] * 10}  # every error of every branch is made before one is told
    document = json.dumps([1] * 300_000).encode()

    assert len(document) < DOCUMENT_BYTES
    assert await checked(document, schema, memory_bytes=300 * 2**20) == TOO_MUCH


async def test_what_is_too_large_needs_no_process(monkeypatch):
    monkeypatch.setattr(checking, "_MODULE", "no.such.module")

    [wrong] = await checked(b" " * (DOCUMENT_BYTES + 1), {})
    assert "at most 1048576" in wrong.message


async def test_a_check_that_cannot_begin_is_the_platforms(monkeypatch):
    monkeypatch.setattr(checking, "_MODULE", "no.such.module")

    with pytest.raises(RuntimeError, match="ended from outside"):
        await checked(b"{}", {})
