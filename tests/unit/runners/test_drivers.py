"""The drivers and the plan of tools, run by the real supervisor."""

import hashlib
import io
import json
import os
import sys
import time

import pytest
from runner_kit import Door, Kept, Sandbox

from runners.archive import members
from runners.layers import CannotPack, write_layers


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


def tool(name, script, **more):
    return {
        "name": name,
        "argv": ["/bin/sh", "-c", script],
        "timeout_s": 10.0,
        "environ": {"PATH": "/usr/bin:/bin"},
    } | more


def verify(sandbox, *tools, **capsule):
    ended = sandbox.run({"kind": "tools", "tools": list(tools)}, **capsule)
    return ended, {result["name"]: result for result in ended.result["tools"]}


# --- tools ----------------------------------------------------------------------


def test_each_tool_has_its_own_result_and_output(sandbox):
    ended, tools = verify(
        sandbox,
        tool("good", "printf report; echo log >&2", stdout="good.json"),
        tool("bad", "exit 9"),
        tool("shot", "kill -SEGV $$"),
        {"name": "absent", "argv": ["/no/such/tool"], "timeout_s": 1.0},
        tool("nowhere", "true", cwd="/no/such/directory"),
    )

    assert (ended.code, ended.result["outcome"], ended.result["exit_code"]) == (0, "exited", 0)
    assert (sandbox.out / "good.json").read_bytes() == b"report"
    assert (
        tools["good"]["exit_code"],
        tools["good"]["output_bytes"],
        tools["good"]["truncated"],
    ) == (0, 6, False)
    assert tools["bad"]["exit_code"] == 9
    assert (tools["shot"]["exit_code"], tools["shot"]["detail"]) == (None, "killed by signal 11")
    assert tools["absent"]["exit_code"] is None
    assert "cannot start" in tools["absent"]["detail"]
    assert "cannot start" in tools["nowhere"]["detail"]
    assert b"log" in ended.stderr


def test_a_tool_inherits_nothing_of_the_environment(sandbox):
    _, _ = verify(sandbox, tool("env", "/usr/bin/env", stdout="env", environ={"ONLY": "this"}))

    names = {line.partition("=")[0] for line in (sandbox.out / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"ONLY", "VSC_TEST_EVENTS_FD"}


def test_independent_tools_run_side_by_side_and_after_is_respected(sandbox):
    meet = "touch {0}; for i in $(seq 500); do [ -e {1} ] && exit 0; sleep 0.01; done; exit 1"
    here = str(sandbox.workspace)

    _, tools = verify(
        sandbox,
        tool("a", meet.format("a", "b"), cwd=here),
        tool("b", meet.format("b", "a"), cwd=here),
        tool("late", "[ -e a ] && [ -e b ] && [ ! -e c ]", cwd=here, after=["a", "b"]),
        tool("last", "touch c", cwd=here, after=["late"]),
    )

    assert {name: result["exit_code"] for name, result in tools.items()} == {
        "a": 0,
        "b": 0,
        "late": 0,
        "last": 0,
    }


def test_a_time_out_ends_the_tool_and_its_family_and_not_its_neighbours(sandbox):
    deaf = (
        "trap '' TERM; (trap '' TERM; while :; do date +%s.%N > beat; sleep 0.01; done) & wait; "
        "sleep 60"
    )

    _, tools = verify(
        sandbox,
        tool("deaf", deaf, timeout_s=0.3, cwd=str(sandbox.workspace), stdout="deaf"),
        tool("neighbour", "sleep 3; date +%s.%N", stdout="now", cwd=str(sandbox.workspace)),
    )

    assert (tools["deaf"]["timed_out"], tools["deaf"]["exit_code"]) == (True, None)
    assert (tools["neighbour"]["exit_code"], tools["neighbour"]["timed_out"]) == (0, False)
    last_beat = (sandbox.workspace / "beat").stat().st_mtime
    assert float((sandbox.out / "now").read_text()) - last_beat > 0.2


def test_what_a_tool_leaves_behind_is_gone_before_the_next_begins(sandbox):
    """H18: a daemon of the tests must not rewrite what a later tool reads."""
    here = str(sandbox.workspace)
    stray = "setsid sh -c 'while :; do echo forged > report; sleep 0.01; done' & sleep 0.2"

    _, tools = verify(
        sandbox,
        tool("tests", stray, cwd=here, stdout="tests.out"),
        tool(
            "report",
            "echo honest > report; sleep 0.2; cat report",
            cwd=here,
            stdout="report.out",
            after=["tests"],
        ),
    )

    assert (sandbox.out / "report.out").read_bytes() == b"honest\n"
    assert tools["tests"]["duration_s"] < 2.0


def test_output_past_its_cap_is_cut_and_the_tool_runs_on(sandbox):
    _, tools = verify(
        sandbox, tool("loud", "head -c 3000000 /dev/zero", stdout="loud", max_output_bytes=1000)
    )

    assert (sandbox.out / "loud").stat().st_size == 1000
    assert (
        tools["loud"]["exit_code"],
        tools["loud"]["output_bytes"],
        tools["loud"]["truncated"],
    ) == (0, 1000, True)


def test_a_file_that_an_earlier_tool_put_in_the_way_is_replaced(sandbox, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("untouched")

    verify(
        sandbox,
        tool("trap", f"ln -s {outside} {sandbox.out}/b; echo seeded > {sandbox.out}/c"),
        tool("b", "echo b", stdout="b", after=["trap"]),
        tool("c", "echo c", stdout="c", after=["trap"]),
    )

    assert outside.read_text() == "untouched"
    assert ((sandbox.out / "b").read_text(), (sandbox.out / "c").read_text()) == ("b\n", "c\n")
    assert not (sandbox.out / "b").is_symlink()


def test_test_events_come_whole_through_their_own_stream(sandbox):
    script = """import json, os
fd = int(os.environ['VSC_TEST_EVENTS_FD'])
for i in range(300):
    detail = 'x' * (20000 if i % 50 == 0 else 10)
    line = json.dumps({'kind': 'finished', 'id': f't{i}', 'detail': detail}).encode() + b'\\n'
    while line: line = line[os.write(fd, line):]
"""
    pytest_like = {"name": "t", "argv": [sys.executable, "-I", "-c", script], "timeout_s": 10.0}
    with Door(sandbox.door, kept := Kept()):
        verify(sandbox, pytest_like)

    assert [json.loads(line)["id"] for line in kept.text("tests").splitlines()] == [
        f"t{i}" for i in range(300)
    ]


def test_dropped_test_events_are_visible_as_such(sandbox):
    """A stream past its cap ends in a marker, on a line of its own, after whole lines only."""
    script = (
        "import os; fd = int(os.environ['VSC_TEST_EVENTS_FD'])\n"
        "for i in range(1000): os.write(fd, b'{\"id\": %d}\\n' % i)"
    )
    with Door(sandbox.door, kept := Kept()):
        ended, _ = verify(
            sandbox,
            {"name": "t", "argv": [sys.executable, "-I", "-c", script], "timeout_s": 10.0},
            tests_bytes=500,
        )

    *events, marker = [json.loads(line) for line in kept.text("tests").splitlines()]
    assert [event["id"] for event in events] == list(range(len(events)))
    assert 0 < len(events) < 1000
    assert marker == {"kind": "dropped", "bytes": ended.result["dropped_bytes"]["tests"]}


def test_a_record_of_tests_may_be_longer_than_a_log(sandbox):
    """That of packaging, 62,435 tests, has 27 MiB; a log has 16."""
    script = "import os; os.write(int(os.environ['VSC_TEST_EVENTS_FD']), b'{\"id\": 1}\\n' * 1000)"
    with Door(sandbox.door, kept := Kept()):
        ended, _ = verify(
            sandbox,
            {"name": "t", "argv": [sys.executable, "-I", "-c", script], "timeout_s": 10.0},
            log_bytes=500,
        )

    assert kept.text("tests") == b'{"id": 1}\n' * 1000
    assert ended.result["dropped_bytes"] == {}


def test_the_deadline_of_the_sandbox_ends_a_plan(sandbox):
    ended, tools = verify(
        sandbox, tool("quick", "true"), tool("slow", "sleep 60"), deadline_s=1.0, grace_s=1.0
    )

    assert (ended.code, ended.result["outcome"], list(tools)) == (124, "deadline", ["quick"])


# --- prepare ------------------------------------------------------------------


def prepare(sandbox, *tools):
    return sandbox.run(
        {
            "kind": "prepare",
            "tools": list(tools),
            "directory": str(sandbox.home / "env"),
        }
    )


def layers_of(path):
    """Layer -> its entries."""
    with path.open("rb") as file:
        return {
            layer.path: [(one.path, one.mode, one.read()) for one in members(layer)]
            for layer in members(file)
        }


def test_an_environment_is_packed_in_canonical_form(sandbox):
    make = (
        "mkdir -p env/bin env/a env/none; echo b > env/b; echo x > env/bin/x; chmod 700 env/bin/x;"
        " ln env/b env/a/hard; ln -s ../b env/a/l"
    )

    ended = prepare(sandbox, tool("make", make, cwd=str(sandbox.home)))

    assert ended.result["exit_code"] == 0
    assert layers_of(sandbox.out / "env.layers") == {
        b"rest": [
            (b"a/hard", "100644", b"b\n"),
            (b"a/l", "120000", b"../b"),
            (b"b", "100644", b"b\n"),
            (b"bin/x", "100755", b"x\n"),
            (b"none", "040000", b""),
        ]
    }


def test_each_distribution_is_a_layer_by_its_record(tmp_path):
    site = tmp_path / "env/lib/python3.13/site-packages"
    for name, record in (
        ("one-1.0", "one.py,sha256=x,1\n../../../bin/one,,\n../../../../../etc/passwd,,\n"),
        ("two-2.0", '"t,wo/__init__.py",,\none.py,,\nmissing.py,,\n'),
        ("none-3.0", None),
    ):
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info/METADATA").write_text(name)
        if record is not None:
            (site / f"{name}.dist-info/RECORD").write_text(record)
    for name in (
        "one.py",
        "__pycache__/one.cpython-313.pyc",
        "t,wo/__init__.py",
        "t,wo/__pycache__/__init__.cpython-313.pyc",
        "nobodys.pth",
        "../../../bin/one",
        "../../../bin/python",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name)

    with (tmp_path / "layers").open("wb") as into:
        write_layers(tmp_path / "env", into, tmp_path)

    inside = b"lib/python3.13/site-packages/"
    assert {
        layer: [path.removeprefix(inside) for path, *_ in entries]
        for layer, entries in layers_of(tmp_path / "layers").items()
    } == {
        b"dist/none-3.0": [b"none-3.0.dist-info/METADATA"],
        b"dist/one-1.0": [
            b"bin/one",
            b"__pycache__/one.cpython-313.pyc",
            b"one-1.0.dist-info/METADATA",
            b"one-1.0.dist-info/RECORD",
            b"one.py",
        ],
        b"dist/two-2.0": [
            b"t,wo/__init__.py",
            b"t,wo/__pycache__/__init__.cpython-313.pyc",
            b"two-2.0.dist-info/METADATA",
            b"two-2.0.dist-info/RECORD",
        ],
        b"rest": [b"bin/python", b"nobodys.pth"],
    }


def test_the_same_environment_gives_the_same_bytes(tmp_path):
    digests = set()
    for turn in range(2):
        env = tmp_path / f"env{turn}"
        env.mkdir()
        for name in ("z", "a", "\udcff")[:: 1 if turn else -1]:
            (env / name).write_text(name, errors="surrogateescape")
        time.sleep(0.01)
        with (tmp_path / f"{turn}.layers").open("wb") as into:
            write_layers(env, into, tmp_path)
        digests.add(hashlib.sha256((tmp_path / f"{turn}.layers").read_bytes()).hexdigest())

    assert len(digests) == 1


def test_the_first_failing_step_ends_a_preparation(sandbox):
    ended = prepare(sandbox, tool("one", "exit 4"), tool("two", f"touch {sandbox.workspace}/two"))

    assert ended.result["exit_code"] == 1
    assert "one failed" in ended.result["detail"]
    assert not (sandbox.workspace / "two").exists()
    assert not (sandbox.out / "env.layers").exists()


@pytest.mark.parametrize(
    "make", ["mkfifo env/pipe", "mkdir env/d; touch env/d/s; chmod 4755 env/d/s"]
)
def test_what_cannot_be_packed_fails_by_name(sandbox, make):
    ended = prepare(sandbox, tool("make", f"mkdir env; {make}", cwd=str(sandbox.home)))

    assert ended.result["exit_code"] == 1
    assert "pipe" in ended.result["detail"] or "d/s" in ended.result["detail"]


def test_packing_names_what_it_refuses(tmp_path):
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(CannotPack, match="fifo"):
        write_layers(tmp_path, io.BytesIO(), tmp_path)
