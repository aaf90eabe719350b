"""A provider's cache of trees: made once, shared, never taken from a user, kept to its size."""

import multiprocessing
import os
import threading

import pytest
from sandbox_kit import Kit, archive

from runners.unpack import unpack
from sandboxes.errors import BlobMissing
from sandboxes.packed import packed
from sandboxes.tree_cache import TreeCache

UID = os.geteuid()
FILE_BYTES = 100_000


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path / "kit", "sha256:" + "0" * 64)


@pytest.fixture
def cache(kit, tmp_path):
    return kit.trees(tmp_path)


def blob(kit, name, **more):
    return kit.blob(archive({name: name.encode() * (FILE_BYTES // len(name)), **more}))


def test_a_tree_is_unpacked_once_for_all_who_ask(kit, tmp_path):
    made = []

    def counted(*arguments):
        made.append(1)
        return unpack(*arguments)

    key = blob(kit, "a")
    caches = [TreeCache(tmp_path / "trees", kit.depot, counted, 2**30) for _ in range(8)]
    found = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one.use([key], UID, "u")))
        for one in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1
    assert made == [1]


def test_past_the_limit_what_nobody_uses_goes_the_longest_unused_first(kit, tmp_path):
    cache = kit.trees(tmp_path, max_bytes=3 * FILE_BYTES)
    first, second, third = (cache.use([blob(kit, name)], UID, name) for name in "abc")
    assert first.exists(), "all of them are in use, whatever they take"
    for name in "abc":
        cache.give_up(name)
    cache.use([blob(kit, "a")], UID, "again")
    cache.give_up("again")

    cache.use([blob(kit, "d")], UID, "d")

    assert [path.exists() for path in (first, second, third)] == [True, False, False]
    assert cache.held_bytes() <= 3 * FILE_BYTES


def test_what_a_sandbox_uses_stays_for_another_process_too(kit, tmp_path):
    used = kit.trees(tmp_path).use([blob(kit, "a")], UID, "living")
    other = kit.trees(tmp_path, max_bytes=0)

    other.trim()
    assert used.exists()

    other.give_up("living")
    other.give_up("living")
    other.trim()
    assert not used.exists()


def test_two_owners_have_a_tree_each(kit, cache):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    key = blob(kit, "a")

    ours, theirs = cache.use([key], 10001, "u"), cache.use([key], 10002, "u")

    assert ((ours / "a").stat().st_uid, (theirs / "a").stat().st_uid) == (10001, 10002)


def test_layers_share_their_files_on_disk(kit, cache):
    shared, one, two = blob(kit, "lib/shared"), blob(kit, "lib/one"), blob(kit, "two")

    first, second = cache.use([shared, one], UID, "u"), cache.use([shared, two], UID, "v")

    assert (first / "lib/shared").stat().st_ino == (second / "lib/shared").stat().st_ino
    assert {path.name for path in (first / "lib").iterdir()} == {"shared", "one"}
    assert cache.held_bytes() < 4 * FILE_BYTES


def test_a_layer_stays_while_a_tree_shares_its_files(kit, tmp_path):
    cache = kit.trees(tmp_path)
    composed = cache.use([blob(kit, "a"), blob(kit, "b")], UID, "u")
    strict = kit.trees(tmp_path, max_bytes=0)

    strict.trim()
    assert composed.exists()
    assert cache.held_bytes() > 2 * FILE_BYTES

    strict.give_up("u")
    strict.trim()
    assert cache.held_bytes() == 0


@pytest.mark.parametrize(
    "clash", [{"lib/x": b"twice"}, {"lib": b"a file"}, {"lib": "elsewhere"}, {"lib/x/y": b""}]
)
def test_layers_that_overlap_are_refused_and_leave_nothing(kit, cache, tmp_path, clash):
    key = blob(kit, "lib/x")

    with pytest.raises(ValueError, match="overlap"):
        cache.use([key, kit.blob(archive(clash))], UID, "u")

    assert not list((tmp_path / "trees").glob(".new-*"))


def test_what_cannot_be_made_is_said_and_can_be_made_later(kit, cache, tmp_path):
    whole = archive({"a": b"x" * 50_000})
    for bad in (whole[:-40], packed(b"no archive"), b"not packed"):
        with pytest.raises(ValueError, match=r".+"):
            cache.use([kit.blob(bad)], UID, "u")
    with pytest.raises(BlobMissing):
        cache.use(["0" * 64], UID, "u")

    assert not list((tmp_path / "trees").glob(".new-*"))
    assert (cache.use([kit.blob(whole)], UID, "u") / "a").read_bytes() == b"x" * 50_000


def test_a_bomb_is_refused(kit, cache, monkeypatch):
    monkeypatch.setattr("sandboxes.tree_cache.MAX_TREE_BYTES", 10_000)
    bomb = archive({"zeros": bytes(100_000)})
    assert len(bomb) < 1000

    with pytest.raises(ValueError, match="more than 10000 bytes"):
        cache.use([kit.blob(bomb)], UID, "u")


def test_a_damaged_blob_is_never_a_tree(kit, cache):
    key = kit.blob(archive({"a": os.urandom(300_000)}))
    file = kit.store.path(key)
    content = bytearray(file.read_bytes())
    content += b"more"
    file.chmod(0o644)
    file.write_bytes(content)

    with pytest.raises(BlobMissing):
        cache.use([key], UID, "u")


def _die_while_unpacking(kit, home, key):
    def dies(archive_, into, owner):
        unpack(archive_, into, owner)
        os.kill(os.getpid(), 9)

    TreeCache(home / "trees", kit.depot, dies, 2**30).use([key], UID, "dead")


def test_a_maker_that_is_killed_leaves_nothing_that_counts(kit, cache, tmp_path):
    key = blob(kit, "a")
    maker = multiprocessing.get_context("fork").Process(
        target=_die_while_unpacking, args=(kit, tmp_path, key)
    )
    maker.start()
    maker.join()
    assert maker.exitcode == -9
    assert list((tmp_path / "trees").glob(".new-*"))

    cache.trim()

    assert not list((tmp_path / "trees").glob(".new-*"))
    assert (cache.use([key], UID, "u") / "a").exists()


def test_users_come_and_go_while_others_clear_away(kit, tmp_path):
    """Whoever uses a tree sees it whole, however often it is taken away from those who do not."""
    keys = [blob(kit, name) for name in "abcd"]
    failures = []

    def work(name):
        cache = kit.trees(tmp_path, max_bytes=FILE_BYTES)
        try:
            for turn in range(15):
                number = (turn + int(name)) % 4
                tree = cache.use([keys[number]], UID, name)
                assert (tree / "abcd"[number]).stat().st_size == FILE_BYTES
                cache.give_up(name)
        except Exception as failure:  # noqa: BLE001 -- it is told by the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(str(name),)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
