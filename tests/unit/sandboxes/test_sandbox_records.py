"""What is written down about a sandbox comes back as it was, and a name has one holder."""

import json
import threading
from datetime import UTC, datetime

import pytest

from sandboxes.docker.records import Records
from sandboxes.spec import (
    Against,
    Artifact,
    Ended,
    Input,
    Limits,
    Output,
    SandboxId,
    SandboxOutcome,
    SandboxSpec,
    Usage,
    Workspace,
)

SPEC = SandboxSpec(
    name="n",
    image="i",
    command=("a", "b"),
    limits=Limits(deadline_s=1.5),
    environ={"A": "1"},
    inputs=(Input("/vsc/x", "0" * 64),),
    workspace=Workspace(base="b", delta="d", against=Against.START),
    environment=("e", "f"),
    outputs=(Output("o", 3),),
    door=True,
    egress=("index.test:443",),
)
OUTCOME = SandboxOutcome(
    ended=Ended.OOM,
    exit_code=137,
    detail="why",
    started_at=datetime.now(UTC),
    finished_at=datetime.now(UTC),
    usage=Usage(cpu_s=1.5),
    outputs={"o": Artifact("0" * 64, 3)},
    refused={"p": "a link"},
    collected={"q": Artifact("1" * 64, 4)},
)


def test_what_was_written_is_read_by_another_process(tmp_path):
    place = Records(tmp_path).place("n")
    place.root.mkdir(parents=True)
    place.write_spec(SPEC)
    place.write_container(SandboxId("c"))
    place.write_outcome(OUTCOME)

    again = Records(tmp_path).of(SandboxId("c"))

    assert again is not None
    assert again.spec() == SPEC
    assert again.spec().fingerprint() == SPEC.fingerprint()
    assert again.outcome() == OUTCOME


def test_the_first_reason_to_end_a_sandbox_stays(tmp_path):
    place = Records(tmp_path).place("n")
    place.root.mkdir(parents=True)
    place.write_ending(Ended.DEADLINE, "late")

    place.write_ending(Ended.TERMINATED, "asked")

    assert place.ending().ended is Ended.DEADLINE


def test_a_name_has_one_holder_at_a_time_even_when_its_lock_file_is_removed(tmp_path):
    records, inside, most = Records(tmp_path), [], []

    def hold():
        for _ in range(50):
            with records.held("n"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert len(most) == 200
    assert list((tmp_path / "locks").iterdir()) == []


OLDER = json.dumps({"name": "n", "image": "i"})
READERS = {
    "spec.json": lambda place: place.spec(),
    "container": lambda place: place.container(),
    "ending": lambda place: place.ending(),
    "outcome.json": lambda place: place.outcome(),
}


@pytest.mark.parametrize("content", ["", "{", "[1]", OLDER, "\x00\x00"])
@pytest.mark.parametrize("name", READERS)
def test_a_record_that_cannot_be_read_is_set_aside_and_counts_as_damage(tmp_path, name, content):
    place = Records(tmp_path).place("n")
    place.root.mkdir(parents=True)
    (place.root / name).write_text(content)

    assert READERS[name](place) is None

    assert place.damaged() == [name]
    assert not (place.root / name).exists()
    assert (place.root / f"unreadable-{name}").read_text() == content
    assert Records(tmp_path).of(SandboxId("c")) is None


@pytest.mark.parametrize("left", [b"", b"true", b"9d1c8a9e-0000-4000-8000-000000000000\n"])
def test_what_was_prepared_before_a_power_cut_is_prepared_again(tmp_path, left):
    place = Records(tmp_path).place("n")
    place.root.mkdir(parents=True)
    (place.root / "prepared").write_bytes(left)

    assert not place.prepared()

    assert place.damaged() == []
    place.mark_prepared()
    assert Records(tmp_path).place("n").prepared()
