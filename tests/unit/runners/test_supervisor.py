"""The supervisor as PID 1 of a real PID namespace, with real hostile children and a real door."""

import json
import os
import signal
import sys
import time

import pytest
from runner_kit import Door, Kept, Sandbox, pid_one


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.fixture
def kept(sandbox):
    with Door(sandbox.door, kept := Kept()):
        yield kept


def test_an_exit_code_is_a_value(sandbox):
    ended = sandbox.shell("pwd; echo err >&2; exit 3")

    assert (ended.code, ended.result["outcome"], ended.result["exit_code"]) == (0, "exited", 3)
    assert (ended.stdout, ended.stderr) == (
        f"{sandbox.workspace}\n".encode(),
        b"err\n",
    )  # without a door: the engine's log


def test_output_comes_through_the_door_byte_for_byte(sandbox, kept):
    hostile = b"\x00\xff\xfe\x1b]0;x\x07\rover\xe2\x80\xae<script>\n" * 5000

    ended = sandbox.python(
        f"import sys; sys.stdout.buffer.write({hostile[:38]!r} * 5000); sys.stderr.write('e')"
    )

    assert kept.text("stdout") == hostile[:38] * 5000
    assert kept.text("stderr") == b"e"
    assert (ended.stdout, ended.result["dropped_bytes"]) == (b"", {})


def test_a_flood_and_an_endless_line_are_cut_counted_and_block_nobody(sandbox, kept):
    flood = (
        "import os; os.write(2, b'x' * 3_000_000)\nfor _ in range(320): os.write(1, b'y' * 65536)"
    )

    ended = sandbox.python(flood, log_bytes=1_000_000)

    assert ended.result["exit_code"] == 0
    assert (len(kept.text("stdout")), len(kept.text("stderr"))) == (1_000_000, 1_000_000)
    assert ended.result["dropped_bytes"] == {"stdout": 320 * 65536 - 1_000_000, "stderr": 2_000_000}


def test_a_signal_is_not_an_exit(sandbox):
    ended = sandbox.shell("kill -KILL $$")

    assert (ended.code, ended.result["outcome"], ended.result["exit_code"]) == (0, "signaled", None)
    assert "9" in ended.result["detail"]


@pytest.mark.parametrize(
    "script",
    [
        "while :; do :; done",
        "sleep 100",
        "trap '' TERM INT HUP; while :; do sleep 100; done",
        "read x < fifo",
    ],
    ids=["busy", "sleep", "deaf", "blocked"],
)
def test_the_deadline_ends_whatever_it_is(sandbox, script):
    os.mkfifo(sandbox.workspace / "fifo")

    ended = sandbox.shell(script, deadline_s=0.5, grace_s=1.0)

    assert (ended.code, ended.result["outcome"]) == (124, "deadline")
    assert 0.5 <= ended.took_s < 5.0


def test_a_polite_driver_gets_the_time_between_term_and_kill(sandbox):
    ended = sandbox.shell(
        "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done", deadline_s=0.5, grace_s=4.0
    )

    assert (ended.result["outcome"], ended.stdout) == ("deadline", b"bye\n")


def test_the_engine_can_ask_for_the_end(sandbox):
    process = sandbox.start(
        {"kind": "command", "argv": ["/bin/sh", "-c", "echo up; sleep 100"]}, grace_s=1.0
    )
    assert process.stdout.read(1) == b"u"

    os.kill(pid_one(process), signal.SIGTERM)

    ended = sandbox.ended(process)
    assert (ended.code, ended.result["outcome"]) == (143, "terminated")


def test_the_driver_cannot_end_its_run_by_a_signal(sandbox):
    ended = sandbox.shell(
        "kill -TERM 1; kill -INT 1; kill -KILL 1; kill -STOP 1; sleep 0.2; echo still here"
    )

    assert (ended.code, ended.result["outcome"], ended.stdout) == (0, "exited", b"still here\n")


HEARTBEAT = """
import os, signal, time
for _ in range(2):
    if os.fork(): os._exit(0)
    os.setsid()
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
while True:
    with open("beat", "w") as f: f.write(str(time.time()))
    time.sleep(0.005)
"""


def test_nothing_lives_when_the_result_is_written(sandbox):
    """A double-forked daemon ends with the driver, though the supervisor waits for its door."""
    (sandbox.workspace / "beat.py").write_text(HEARTBEAT)
    kept = Kept(misbehave=lambda _: 503)
    script = f"{sys.executable} beat.py; while [ ! -s beat ]; do sleep 0.01; done; echo unsent"
    with Door(sandbox.door, kept):
        ended = sandbox.shell(script, grace_s=2.0)

    beat = (sandbox.workspace / "beat").stat().st_mtime
    assert ended.result["dropped_bytes"] == {"stdout.unsent": 7}
    assert (sandbox.out / "result.json").stat().st_mtime - beat > 1.0
    assert ended.stdout == b"unsent\n"  # the engine's log is the fallback


def test_zombies_are_reaped_while_the_driver_runs(sandbox):
    script = (
        "for i in $(seq 300); do (sleep 0 &) ; done; sleep 0.5; "
        "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    )

    assert sandbox.shell(script).stdout == b"0\n"


@pytest.mark.parametrize(
    "trap",
    [
        "mkdir result.json; touch result.json/x",
        "ln -s /nowhere/x result.json",
        "echo '{}' > result.json",
        "mkfifo result.json",
    ],
)
def test_the_result_takes_its_place_from_whatever_is_there(sandbox, trap):
    ended = sandbox.shell(f"cd ../out && {trap}; exit 7")

    assert ended.result["exit_code"] == 7


# --- the door -----------------------------------------------------------------


def test_a_restart_of_the_control_plane_loses_and_doubles_nothing(sandbox):
    kept = Kept()
    script = "import time\nfor i in range(60): print(i, 'x' * 2000, flush=True); time.sleep(0.02)"
    with Door(sandbox.door, kept):
        process = sandbox.start({"kind": "command", "argv": [sys.executable, "-c", script]})
        while kept.posts < 3:
            time.sleep(0.01)
    time.sleep(0.3)
    with Door(sandbox.door, kept):
        ended = sandbox.ended(process)

    assert [line.split()[0] for line in kept.text("stdout").splitlines()] == [
        str(i).encode() for i in range(60)
    ]
    assert ended.result["dropped_bytes"] == {}


def test_an_answer_that_got_lost_leads_to_a_resend_that_is_no_double(sandbox, kept):
    kept.misbehave = lambda post: "silence" if post in (1, 2) else None

    sandbox.shell("echo once")

    assert (kept.text("stdout"), kept.resent) == (b"once\n", 2)


def test_a_door_that_refuses_for_good_is_not_asked_for_ever(sandbox, kept):
    kept.misbehave = lambda _: 400

    ended = sandbox.shell("echo unwanted", grace_s=10.0)

    assert (kept.posts, ended.result["dropped_bytes"]) == (1, {"stdout.unsent": 9})
    assert "400" in ended.result["detail"]
    assert ended.took_s < 5


def test_one_full_stream_does_not_stop_the_others(sandbox, kept):
    accept = kept.append

    def append(chunks):
        return 413 if any(chunk["stream"] == "stdout" for chunk in chunks) else accept(chunks)

    kept.append = append

    ended = sandbox.shell("echo out; echo err >&2; sleep 0.3; echo more; echo errs >&2")

    assert kept.text("stderr") == b"err\nerrs\n"
    assert ended.result["dropped_bytes"] == {"stdout.unsent": 9}


def test_a_door_that_comes_back_after_the_grace_still_gets_the_log(sandbox, kept):
    kept.misbehave = lambda post: 503 if post < 6 else None

    ended = sandbox.shell("echo late", grace_s=0.2)

    assert kept.text("stdout") == b"late\n"
    assert ended.result["dropped_bytes"] == {}


def test_a_door_that_is_away_at_the_start_gets_the_log_when_it_comes(sandbox):
    """A gateway that is replaced takes its sockets with it; a sandbox may start meanwhile."""
    script = "echo early; : > began; while [ ! -e up ]; do sleep 0.05; done"
    running = sandbox.start(
        {"kind": "command", "argv": ["/bin/sh", "-c", script]}, door=True, relay=True
    )
    while running.poll() is None and not (sandbox.workspace / "began").exists():
        time.sleep(0.01)
    with Door(sandbox.door, kept := Kept()):
        (sandbox.workspace / "up").touch()
        ended = sandbox.ended(running)

    assert kept.text("stdout") == b"early\n"
    assert (ended.stdout, ended.result["dropped_bytes"]) == (b"", {})


def test_a_door_that_never_answers_does_not_hold_up_the_end(sandbox, kept):
    kept.misbehave = lambda _: time.sleep(30)

    ended = sandbox.shell("echo x", grace_s=1.0, upload_s=0.1)

    assert ended.took_s < 4
    assert ended.result["dropped_bytes"] == {"stdout.unsent": 2}


# --- refusals -----------------------------------------------------------------

TOOL = {"name": "t", "argv": ["/bin/true"], "timeout_s": 1.0}


@pytest.mark.parametrize(
    "capsule",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({"protocol": 2}),
        json.dumps({"protocol": 1}),
        *(
            json.dumps(
                {
                    "run": "r",
                    "stage": "s",
                    "deadline_s": 1.0,
                    "protocol": 1,
                    "driver": {"kind": "command", "argv": ["/x"]},
                }
                | change
            )
            for change in (
                {"deadline_s": 0},
                {"deadline_s": "soon"},
                {"deadline_s": float("nan")},
                {"grace_s": -1},
                {"upload_s": -1},
                {"upload_s": float("inf")},
                {"log_bytes": 1.5},
                {"tests_bytes": -1},
                {"surprise": 1},
                {"driver": {"kind": "llm"}},
                {"driver": {}},
                {"driver": {"kind": "command"}},
                {"driver": {"kind": "command", "argv": []}},
                {"driver": {"kind": "command", "argv": ["/x"], "tools": [TOOL]}},
                {"driver": {"kind": "command", "argv": ["a\0b"]}},
                {"driver": {"kind": "command", "argv": [1]}},
                {"driver": {"kind": "command", "argv": ["/no/such/program"]}},
                {"driver": {"kind": "tools", "tools": []}},
                {"driver": {"kind": "tools", "tools": [TOOL, TOOL]}},
                {"driver": {"kind": "tools", "tools": [TOOL | {"argv": ["true"]}]}},
                {"driver": {"kind": "tools", "tools": [TOOL | {"after": ["nobody"]}]}},
                {"driver": {"kind": "tools", "tools": [TOOL | {"after": ["t"]}]}},
                {"driver": {"kind": "tools", "tools": [TOOL | {"stdout": "../x"}]}},
                {"driver": {"kind": "tools", "tools": [TOOL | {"stdout": "result.json"}]}},
                {"relay": True},
            )
        ),
    ],
)
def test_a_capsule_that_makes_no_sense_is_refused_with_a_reason(sandbox, capsule):
    ended = sandbox.ended(sandbox.start_text(capsule))

    assert (ended.code, ended.result["outcome"], ended.result["exit_code"]) == (
        125,
        "refused",
        None,
    )
    assert ended.result["detail"]


def test_without_a_place_for_outputs_it_says_so_to_the_engine(sandbox):
    sandbox.out.rmdir()
    process = sandbox.start({"kind": "command", "argv": ["/bin/true"]})

    _, stderr = process.communicate(timeout=30)

    assert process.returncode == 125
    assert b"cannot use" in stderr
