"""Row F38: a distant blob store dies, refuses or dawdles; nothing half is ever kept."""

import asyncio
import contextlib
import io
from contextlib import closing

import pytest
from pydantic import SecretStr
from s3_kit import KEY, SECRET

from control_plane.blobs.depot import LocalDepot
from control_plane.blobs.files import temporary_file
from control_plane.blobs.s3 import S3Blobs
from control_plane.blobs.threads import ThreadedBlobs
from sandboxes.errors import DepotUnavailable, ProviderUnavailable

SIZE = 64 * 2**20


@pytest.fixture
def opened():
    with contextlib.ExitStack() as stack:
        yield lambda bucket: stack.enter_context(closing(ThreadedBlobs(S3Blobs(bucket))))


class Gate:
    """A way to the server that shuts halfway: so many bytes pass, and the rest waits for ever."""

    def __init__(self, port: int) -> None:
        self._target, self.up, self.down = port, 1 << 62, 1 << 62
        self.reached = asyncio.Event()

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, near, writer) -> None:
        far, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(near, far_writer, "up"))
                group.create_task(self._pass(far, writer, "down"))
        except* OSError:
            pass
        finally:
            writer.close()
            far_writer.close()

    async def _pass(self, source, target, way) -> None:
        while data := await source.read(2**16):
            if getattr(self, way) < len(data):
                self.reached.set()
                return
            setattr(self, way, getattr(self, way) - len(data))
            target.write(data)
            await target.drain()
        raise ConnectionResetError


@pytest.fixture
async def gate(s3_victim):
    gate = Gate(s3_victim.port)
    server = await gate.open()
    yield gate
    server.close()


async def every(blobs):
    return {kept.sha256: kept.size_bytes async for kept in blobs.every()}


async def test_a_server_that_is_killed_in_a_put_keeps_nothing_and_the_put_can_be_made_again(
    s3_victim, gate, opened
):
    bucket = s3_victim.bucket()
    content = bytes(SIZE)
    gate.up = SIZE // 2
    through = opened(s3_victim.way(bucket.name, endpoint=gate.endpoint))

    putting = asyncio.create_task(through.put(content))
    await gate.reached.wait()
    s3_victim.kill()
    with pytest.raises(DepotUnavailable):
        await putting

    s3_victim.start()
    blobs = opened(s3_victim.way(bucket.name))
    assert await every(blobs) == {}
    kept = await blobs.put(content)
    assert await every(blobs) == {kept.sha256: SIZE}


async def test_a_server_that_is_killed_in_a_read_is_no_damage_and_leaves_no_file(
    s3_victim, gate, opened
):
    bucket = s3_victim.bucket()
    kept = await opened(bucket).put(bytes(SIZE))
    gate.down = SIZE // 2
    through = opened(s3_victim.way(bucket.name, endpoint=gate.endpoint))

    async def read():
        async with temporary_file(through, kept.sha256):
            pytest.fail("half a blob is none")

    reading = asyncio.create_task(read())
    await gate.reached.wait()
    s3_victim.kill()
    with pytest.raises(DepotUnavailable):
        await reading

    s3_victim.start()
    assert len(await opened(s3_victim.way(bucket.name)).read(kept.sha256, SIZE)) == SIZE


async def test_a_server_that_says_nothing_is_given_up_and_holds_up_nobody(s3_victim, gate, opened):
    gate.down = 0
    bucket = s3_victim.bucket()
    slow = opened(s3_victim.way(bucket.name, endpoint=gate.endpoint, silence_s=1.0))

    waiting = asyncio.create_task(slow.stat("0" * 64))
    fast = await opened(bucket).put(b"meanwhile")

    assert fast.size_bytes == 9
    with pytest.raises(DepotUnavailable, match="does not answer"):
        await waiting


async def test_no_server_is_told_with_the_settings_that_name_it(s3_victim, opened):
    bucket = s3_victim.bucket()
    s3_victim.kill()

    for asked in (opened(bucket).put(b"x"), opened(bucket).read("0" * 64, 1)):
        with pytest.raises(DepotUnavailable, match="VSC_BLOBS"):
            await asked


@pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
async def test_wrong_credentials_are_told_and_never_shown(s3_server, opened, wrong, caplog):
    bucket = s3_server.bucket()
    good = await opened(bucket).put(b"x")
    bad = opened(s3_server.way(bucket.name, **{wrong: SecretStr("not-the-right-one")}))

    for asked in (
        bad.put(b"y"), bad.read(good.sha256, 1), bad.stat(good.sha256), bad.delete(good.sha256),
        every(bad),
    ):  # fmt: skip
        with pytest.raises(DepotUnavailable, match="VSC_BLOBS") as told:
            await asked
        words = str(told.value) + repr(told.value) + caplog.text
        assert not any(word in words for word in (SECRET, KEY, "not-the-right-one"))
    assert await every(opened(bucket)) == {good.sha256: 1}
    assert SECRET not in repr(bucket)


async def test_a_bucket_that_is_not_there_is_no_missing_blob(s3_server, opened):
    blobs = opened(s3_server.way("no-such-bucket"))

    for asked in (
        blobs.put(b"x"), blobs.read("0" * 64, 1), blobs.stat("0" * 64), blobs.delete("0" * 64),
        every(blobs),
    ):  # fmt: skip
        with pytest.raises(DepotUnavailable):
            await asked


async def test_a_depot_over_it_raises_what_providers_try_again(s3_victim):
    depot = LocalDepot(S3Blobs(s3_victim.bucket()))
    kept = await asyncio.to_thread(depot.put, io.BytesIO(b"x" * 1000), 1000)
    assert (await asyncio.to_thread(depot.open, kept.sha256)).read() == b"x" * 1000
    s3_victim.kill()

    with pytest.raises(ProviderUnavailable):
        await asyncio.to_thread(depot.open, kept.sha256)
