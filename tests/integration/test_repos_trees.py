"""Trees made of objects: exact patches, mixed trees, and what the judge is told of a change."""

import io
import os
import tarfile

import pytest
from mirror_kit import patch_between

from control_plane.repos import change_reader, trees
from control_plane.repos.change_reader import ChangeReader
from control_plane.repos.git import GitLimits
from control_plane.repos.mirrors import Mirrors
from control_plane.repos.snapshot_archive import write_snapshot
from control_plane.repos.trees import ChangeTooLarge, PatchDoesNotApply, Trees
from quality_gates.gates.integrity import changed_dependencies
from quality_gates.selection import changed_python
from runners.hydrate import apply_delta
from runners.unpack import unpack
from sandboxes.packed import unpacked

TEN = b"".join(b"line %d\n" % n for n in range(1, 11))


@pytest.fixture
def mirrors(tmp_path):
    return Mirrors(tmp_path / "repos")


@pytest.fixture
def commit(mirrors, tmp_path):
    async def make(files, parent=None):
        path = tmp_path / "files.tar"
        with tarfile.open(path, "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(f"top/{name}")
                if isinstance(content, str):
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    archive.addfile(info)
                    continue
                data, info.mode = content if isinstance(content, tuple) else (content, 0o644)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return await mirrors.import_archive("r", path, parent, message="m")

    return make


async def test_a_patch_of_every_kind_gives_the_very_tree(mirrors, commit):
    base = await commit(
        {
            "mod": TEN,
            "gone": b"x",
            "mode": b"m",
            "link": b"file",
            "same": b"s",
            "bin": bytes(range(256)),
            "noeol": b"a\nb",
        }
    )
    head = await commit({
        "mod": TEN.replace(b"5", b"five"), "mode": (b"m", 0o755), "link": "same", "same": b"s",
        "bin": bytes(range(255, -1, -1)), "noeol": b"a\nc", "empty": b"", "newbin": b"\0" * 5000,
        "crlf": b"a\r\nb\r\n", "trailing": b"x   \n\n\n",
    })  # fmt: skip
    trees = Trees(mirrors)

    patch = await patch_between(mirrors, "r", base, head)

    assert await trees.apply_patch("r", base, patch) == await mirrors.tree_of("r", head)


async def test_an_empty_patch_is_the_base(mirrors, commit):
    base = await commit({"a": b"1"})

    assert await Trees(mirrors).apply_patch("r", base, b"") == await mirrors.tree_of("r", base)


async def test_a_patch_from_another_base_is_refused_with_gits_words(mirrors, commit):
    base, head = await commit({"a": TEN}), await commit({"a": TEN.replace(b"5", b"five")})
    moved, other = await commit({"a": b"a line before\n" + TEN}), await commit({"a": b"other\n"})
    trees = Trees(mirrors)
    patch = await patch_between(mirrors, "r", base, head)

    with pytest.raises(PatchDoesNotApply, match="a: patch does not apply"):
        await trees.apply_patch("r", other, patch)
    with pytest.raises(PatchDoesNotApply, match="offset 1 line"):  # git would take it; we do not
        await trees.apply_patch("r", moved, patch)
    with pytest.raises(PatchDoesNotApply, match=r"No valid patches|patch fragment"):
        await trees.apply_patch("r", base, b"this is not a patch\n")


@pytest.mark.parametrize("path", ["../out", ".git/config", "/etc/x", "sub/.GIT/hooks/x"])
async def test_a_patch_that_leaves_the_tree_is_refused(mirrors, commit, path):
    base = await commit({"a": b"1"})
    patch = (
        f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
        "@@ -0,0 +1 @@\n+x\n"
    ).encode()

    with pytest.raises(PatchDoesNotApply):
        await Trees(mirrors).apply_patch("r", base, patch)


async def test_a_mixed_tree_takes_swapped_paths_from_the_other_side(mirrors, commit):
    base = await commit(
        {"src.py": b"old", "tests/t.py": b"old test", "tests/gone.py": b"g", "was-file": b"f"}
    )
    head = await commit(
        {
            "src.py": b"new",
            "tests/t.py": b"new test",
            "tests/added.py": b"a",
            "was-file/now": b"dir",
        }
    )
    trees = Trees(mirrors)

    mixed = await trees.compose(
        "r", head, {b"tests/t.py": base, b"tests/added.py": base, b"tests/gone.py": base}
    )
    wanted = await commit(
        {"src.py": b"new", "tests/t.py": b"old test", "tests/gone.py": b"g", "was-file/now": b"dir"}
    )
    assert mixed == await mirrors.tree_of("r", wanted)

    flipped = await trees.compose("r", head, {b"was-file": base, b"was-file/now": base})
    assert b"was-file" in await trees.listing("r", flipped)
    assert b"was-file/now" not in await trees.listing("r", flipped)
    assert await trees.compose("r", head, {}) == await mirrors.tree_of("r", head)


async def test_the_judge_is_told_lines_modes_listings_and_contents(mirrors, commit):
    base = await commit(
        {
            "a.py": TEN,
            "gone.py": b"1\n2\n",
            "run": b"x",
            "kind": b"text\n",
            "bin": b"\0\1",
            "pyproject.toml": b"[a]\n",
            "big": b"b",
        }
    )
    head = await commit({
        "a.py": TEN.replace(b"line 5\n", b"five\nfive and a half\n"), "new\nline.py": b"n\n",
        "run": (b"x", 0o755), "kind": "a.py", "bin": b"\0\2", "pyproject.toml": b"[a]\n",
        "big": b"b" * (5 << 20),
    })  # fmt: skip
    tree = await mirrors.tree_of("r", head)

    told = await ChangeReader(mirrors, lambda path: path == "pyproject.toml").read(
        "r", base, tree, "p" * 64
    )

    by_path = {item.path: item for item in told.files}
    assert set(by_path) == {"a.py", "gone.py", "new\nline.py", "run", "kind", "bin", "big"}
    assert (by_path["a.py"].added_lines, by_path["a.py"].removed_lines) == ((5, 6), (5,))
    assert (by_path["gone.py"].head_mode, by_path["gone.py"].removed_lines) == (None, (1, 2))
    assert (by_path["new\nline.py"].base_mode, by_path["new\nline.py"].added_lines) == (None, (1,))
    assert (by_path["run"].base_mode, by_path["run"].head_mode, by_path["run"].added_lines) == (
        "100644",
        "100755",
        (),
    )
    assert (by_path["kind"].base_mode, by_path["kind"].head_mode) == ("100644", "120000")
    assert by_path["bin"].binary
    assert told.base_contents["pyproject.toml"] == told.head_contents["pyproject.toml"] == b"[a]\n"
    assert "big" in told.head_tree
    assert "big" not in told.head_contents  # too large to read
    assert told.base_tree["gone.py"] == "100644"
    assert "gone.py" not in told.head_tree


async def test_a_delta_turns_one_snapshot_into_the_other(mirrors, commit, tmp_path):
    base = await commit(
        {
            "mod": TEN,
            "d/gone": b"x",
            "mode": b"m",
            "kind": b"file",
            "was-dir/x": b"1",
            "same/s": b"s",
        }
    )
    head = await commit(
        {
            "mod": b"changed",
            "mode": (b"m", 0o755),
            "kind": "mod",
            "was-dir": b"now a file",
            "same/s": b"s",
            "new/deep/er": b"\0",
        }
    )
    uid = 10001 if os.geteuid() == 0 else os.geteuid()
    trees = []
    for name, each in (("base", base), ("head", head)):
        into = io.BytesIO()
        await write_snapshot(mirrors.git("r"), each, into)
        trees.append(tmp_path / name)
        trees[-1].mkdir()
        into.seek(0)
        with unpacked(into, 2**30) as plain:
            unpack(plain, trees[-1], uid)
    tree, wanted = trees

    with unpacked(io.BytesIO(await Trees(mirrors).delta("r", base, head)), 2**30) as plain:
        apply_delta(plain, tree, uid)

    assert _seen(tree) == _seen(wanted)
    assert await Trees(mirrors).delta("r", base, head) == await Trees(mirrors).delta(
        "r", base, head
    )


def _seen(tree):
    return {
        str(path.relative_to(tree)): (
            path.lstat().st_mode,
            path.lstat().st_uid,
            path.readlink() if path.is_symlink() else path.read_bytes(),
        )
        for path in tree.rglob("*")
        if ".git" not in path.parts and (path.is_symlink() or path.is_file())
    }


async def test_the_judge_opens_files_through_links_as_tools_do(mirrors, commit):
    files = {"a/m.txt": b"x = 1\n", "deps.lst": b"six\n", "pins/all.lst": b"attrs\n"}
    links = {"a/m.py": "m.txt", "requirements.txt": "deps.lst"}
    base = await commit({**files, "tox.ini": b"[testenv]\ndeps = -r pins/all.lst\n", **links})
    head = await commit(
        {
            **files,
            "a/m.txt": b"x = 2\n",
            "deps.lst": b"evil\n",
            "tox.ini": b"[testenv]\ndeps = -r pins/all.lst\n",
            **links,
            "b": "a",
        }
    )

    told = await ChangeReader(mirrors, lambda _: False).read("r", base, head, "p" * 64)

    assert told.head_links == {"a/m.py": "m.txt", "requirements.txt": "deps.lst", "b": "a"}
    assert told.base_contents["a/m.py"] == b"x = 1\n"
    assert told.head_contents["a/m.py"] == told.head_contents["b/m.py"] == b"x = 2\n"
    assert changed_python(told) == ("a/m.py", "b/m.py")
    assert told.head_dependencies["requirements.txt"] == b"evil\n"
    assert told.head_dependencies["pins/all.lst"] == b"attrs\n"
    assert changed_dependencies(told) == ("requirements.txt",)


def of_newlines(count):
    return b"\n" * count


async def test_a_huge_file_of_newlines_is_compared_by_its_bytes_and_not_by_its_lines(
    mirrors, commit, monkeypatch
):
    """Line by line, 32 MiB of them cost git 1.4 GiB; here it has 400 MiB."""
    base = await commit({"a": b"x"})
    head = await mirrors.tree_of("r", await commit({"a": b"x", "b": of_newlines(32 * 2**20)}))
    monkeypatch.setattr(trees, "CHANGE_LIMITS", GitLimits(memory_bytes=400 * 2**20))

    told = await ChangeReader(mirrors, lambda _: False).read("r", base, head, "0" * 64)

    (file,) = told.files
    assert (file.path, file.binary, file.added_lines) == ("b", True, ())
    assert "b" not in told.head_contents


async def test_more_lines_than_a_judge_reads_are_their_authors_to_split(
    mirrors, commit, monkeypatch
):
    monkeypatch.setattr(change_reader, "MAX_TOUCHED_LINES", 1000)
    base = await commit({"a": of_newlines(10)})
    small = await mirrors.tree_of("r", await commit({"a": of_newlines(10), "b": of_newlines(1000)}))
    large = await mirrors.tree_of("r", await commit({"a": of_newlines(9), "b": of_newlines(1000)}))

    told = await ChangeReader(mirrors, lambda _: False).read("r", base, small, "0" * 64)

    assert len(told.files[0].added_lines) == 1000
    with pytest.raises(ChangeTooLarge, match="more than 1000 lines; split it"):
        await ChangeReader(mirrors, lambda _: False).read("r", base, large, "0" * 64)


async def test_a_git_that_needs_too_much_for_a_change_says_that_the_change_is_too_large(
    mirrors, commit, monkeypatch
):
    base = await commit({"a": b"x"})
    files = {"a": b"x", "b": of_newlines(3 * 2**20)}
    head = await mirrors.tree_of("r", await commit(files))
    patch = await patch_between(mirrors, "r", base, head)

    for limits, why in (
        (GitLimits(memory_bytes=60 * 2**20), "memory"),
        (GitLimits(time_s=0.0001), "took longer"),
        (GitLimits(output_bytes=10), "printed more"),
    ):
        monkeypatch.setattr(trees, "CHANGE_LIMITS", limits)
        with pytest.raises(ChangeTooLarge, match=f"{why}.*split it"):
            await ChangeReader(mirrors, lambda _: False).read("r", base, head, "0" * 64)
        if why != "printed more":
            with pytest.raises(ChangeTooLarge, match=why):
                await Trees(mirrors).apply_patch("r", base, patch)


async def test_bytes_that_a_change_touches_are_counted_before_they_are_read(
    mirrors, commit, monkeypatch
):
    monkeypatch.setattr(change_reader, "MAX_TOTAL_BYTES", 1000)
    base = await commit({"a": b"x"})
    head = await mirrors.tree_of("r", await commit({"a": b"x", "b": b"y" * 1001}))

    with pytest.raises(ChangeTooLarge, match="more than 1000 bytes"):
        await ChangeReader(mirrors, lambda _: False).read("r", base, head, "0" * 64)
