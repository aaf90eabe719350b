"""Every blob store does this: bytes come back by their hash, whole or not at all."""

import asyncio
import hashlib
import io
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control_plane.blobs.directory import DirectoryBlobs
from control_plane.blobs.files import temporary_file
from control_plane.blobs.ports import BlobDamaged, BlobStore
from control_plane.blobs.s3 import S3Blobs
from control_plane.blobs.threads import ThreadedBlobs
from sandboxes.errors import BlobMissing, TooLarge

LARGE = bytes(range(256)) * (13 * 2**12)  # 13 MiB: several parts and many blocks


@dataclass
class World:
    """A store, and a way to damage what it holds behind its back."""

    store: BlobStore
    blobs: ThreadedBlobs
    damage: Any


@pytest.fixture(params=["directory", "s3"])
def world(request, tmp_path):
    made = in_directory(tmp_path) if request.param == "directory" else in_bucket(request)
    with closing(made.blobs):
        yield made


def in_directory(tmp_path):
    store = DirectoryBlobs(tmp_path / "blobs")
    return World(
        store,
        ThreadedBlobs(store),
        lambda sha256, content: store.path(sha256).write_bytes(content),
    )


def in_bucket(request):
    server = request.getfixturevalue("s3_server")
    bucket = server.bucket()
    store = S3Blobs(bucket)
    return World(
        store,
        ThreadedBlobs(store),
        lambda sha256, content: server.overwrite(bucket, f"{sha256[:2]}/{sha256[2:]}", content),
    )


@pytest.fixture
def blobs(world):
    return world.blobs


async def arriving(*blocks):
    for block in blocks:
        await asyncio.sleep(0)
        yield block


async def every(blobs):
    return {kept.sha256: kept.size_bytes async for kept in blobs.every()}


async def streamed(blobs, sha256, start=0):
    return b"".join([block async for block in blobs.stream(sha256, start)])


@pytest.mark.parametrize("content", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
async def test_bytes_come_back_by_their_hash(blobs, content):
    artifact = await blobs.put(content)

    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.size_bytes == len(content)
    assert await blobs.read(artifact.sha256, len(content)) == content
    assert await streamed(blobs, artifact.sha256) == content
    assert (await blobs.stat(artifact.sha256)).size_bytes == len(content)


async def test_bytes_in_hand_a_file_and_bytes_that_arrive_are_the_same_blob(blobs):
    artifacts = [
        await blobs.put(LARGE),
        await blobs.put(io.BytesIO(LARGE), len(LARGE)),
        await blobs.put(arriving(LARGE[:5], LARGE[5:2_000_000], LARGE[2_000_000:]), len(LARGE)),
    ]

    assert len(set(artifacts)) == 1
    assert await every(blobs) == {artifacts[0].sha256: len(LARGE)}


async def test_one_byte_too_many_leaves_nothing(blobs):
    for source in (b"x" * 11, io.BytesIO(b"x" * 11), arriving(b"x" * 10, b"x")):
        with pytest.raises(TooLarge):
            await blobs.put(source, 10)

    assert await every(blobs) == {}


async def test_a_source_that_breaks_leaves_nothing(blobs):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("gone")

    async def breaking():
        yield b"x"
        raise ConnectionResetError("gone")

    for source in (Broken(), breaking()):
        with pytest.raises(ConnectionResetError):
            await blobs.put(source, 10)

    assert await every(blobs) == {}


async def test_a_stream_begins_anywhere_and_ends_at_the_end(blobs):
    sha256 = (await blobs.put(LARGE)).sha256

    for start in (1, 2**20, len(LARGE) - 1, len(LARGE), len(LARGE) + 5):
        assert await streamed(blobs, sha256, start) == LARGE[start:]


async def test_a_reader_who_goes_away_halfway_costs_nothing(blobs):
    sha256 = (await blobs.put(LARGE)).sha256

    stream = blobs.stream(sha256)
    assert LARGE.startswith(await anext(stream))
    await stream.aclose()

    assert await streamed(blobs, sha256) == LARGE


async def test_damage_is_seen_while_reading_and_healed_by_putting_again(world):
    sha256 = (await world.blobs.put(b"right")).sha256
    world.damage(sha256, b"wrong")

    with pytest.raises(BlobDamaged):
        await world.blobs.read(sha256, 100)
    with pytest.raises(BlobDamaged):
        await streamed(world.blobs, sha256)
    with closing(world.store.open(sha256)) as file, pytest.raises(BlobDamaged):
        file.read()
    with pytest.raises(BlobDamaged):
        async with temporary_file(world.blobs, sha256):
            pass

    await world.blobs.put(b"right")
    assert await world.blobs.read(sha256, 100) == b"right"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
async def test_what_is_no_blob_is_missing(world, name):
    for asked in (
        world.blobs.read(name, 10),
        world.blobs.stat(name),
        streamed(world.blobs, name),
        streamed(world.blobs, name, 3),
    ):
        with pytest.raises(BlobMissing):
            await asked
    with pytest.raises(BlobMissing):
        world.store.open(name)


async def test_reading_more_than_asked_for_is_refused(blobs):
    sha256 = (await blobs.put(b"12345")).sha256

    with pytest.raises(TooLarge):
        await blobs.read(sha256, 4)


async def test_what_is_deleted_is_gone_and_deleting_it_again_is_harmless(blobs):
    kept, gone = (await blobs.put(b"kept")).sha256, (await blobs.put(b"gone")).sha256

    assert await blobs.delete(gone)
    assert await blobs.delete(gone)

    assert await every(blobs) == {kept: 4}
    with pytest.raises(BlobMissing):
        await blobs.stat(gone)


async def test_what_is_younger_than_asked_for_is_not_deleted(blobs):
    sha256 = (await blobs.put(b"young")).sha256
    kept_at = (await blobs.stat(sha256)).kept_at
    assert abs(datetime.now(UTC) - kept_at) < timedelta(minutes=5)

    assert not await blobs.delete(sha256, kept_at)
    assert await blobs.read(sha256, 10) == b"young"

    assert await blobs.delete(sha256, kept_at + timedelta(seconds=2))
    assert await every(blobs) == {}


async def test_what_is_made_new_is_as_young_as_what_was_just_put(world):
    sha256 = (await world.blobs.put(b"wanted again")).sha256
    await asyncio.sleep(1.1)  # the time of an object has whole seconds
    before = (await world.blobs.stat(sha256)).kept_at

    assert (await world.blobs.renew(sha256)).kept_at > before
    assert await world.blobs.read(sha256, 100) == b"wanted again"
    with pytest.raises(BlobMissing):
        await world.blobs.renew("0" * 64)


async def test_many_at_once_are_each_whole(blobs):
    contents = [str(number).encode() * 1000 for number in range(50)] * 2

    kept = await asyncio.gather(*(blobs.put(content) for content in contents))

    assert len(await every(blobs)) == 50
    for content, artifact in zip(contents, kept, strict=True):
        assert await blobs.read(artifact.sha256, 10_000) == content


async def test_a_blob_is_a_file_for_as_long_as_it_is_needed(blobs):
    sha256 = (await blobs.put(LARGE)).sha256

    async with temporary_file(blobs, sha256) as path:
        assert path.read_bytes() == LARGE

    assert not path.exists()


async def test_a_store_says_where_it_is_and_leaves_nothing_of_the_try(world):
    assert world.store.check()
    assert await every(world.blobs) == {}
