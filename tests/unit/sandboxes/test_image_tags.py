"""An image's tag is its content: no Docker is asked."""

import shutil

import pytest

from sandboxes.docker import images


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(
        images.FOLDER, tmp_path / "images", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path / "images"


def test_equal_folders_have_equal_tags_wherever_they_lie(folder):
    assert images.tag("python", folder) == images.tag("python")


def test_a_changed_byte_changes_the_tag_and_only_of_what_stands_on_it(folder):
    base, python = images.tag("base", folder), images.tag("python", folder)

    with (folder / "python" / "build.sh").open("a") as script:
        script.write("\n")

    assert images.tag("python", folder) != python
    assert images.tag("base", folder) == base


def test_a_parents_change_changes_its_children(folder):
    before = images.tag("python", folder)

    with (folder / "base" / "finish.sh").open("a") as script:
        script.write("\n")

    assert images.tag("python", folder) != before


def test_a_file_that_becomes_executable_or_moves_changes_the_tag(folder):
    script = folder / "python" / "build.sh"
    first = images.tag("python", folder)
    script.chmod(0o644)
    second = images.tag("python", folder)
    script.rename(script.with_name("build2.sh"))

    assert len({first, second, images.tag("python", folder)}) == 3


def test_left_overs_of_python_do_not_count(folder):
    before = images.tag("python", folder)
    cache = folder / "python" / "__pycache__"
    cache.mkdir()
    (cache / "manifest.cpython-311.pyc").write_bytes(b"\0")

    assert images.tag("python", folder) == before


def test_parents_come_first():
    names = images.names()

    assert names.index("base") < names.index("python")


def test_every_package_that_an_image_takes_is_pinned_by_hash_and_names_no_index():
    for lock in images.FOLDER.glob("*/*.txt"):
        text = lock.read_text()
        pins = [line for line in text.splitlines() if "==" in line]

        assert pins
        assert "://" not in text
        for block in text.split("\n    # via")[:-1]:
            assert "--hash=sha256:" in block


def test_a_reference_is_the_tag_without_the_engines_name_for_it(folder):
    assert images.tag_of(images.reference("python", folder)) == images.tag("python", folder)
    assert images.reference("python").startswith("python@")
