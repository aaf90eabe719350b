"""The one table from our errors to what people are told."""

import importlib
import json
import re
from pathlib import Path

import httpx
import pytest

from control_plane.api.problems import problem
from control_plane.cli.client import _refusal
from control_plane.errors import ANSWERS, BUG, HTTP, Who, answer_to, answer_with
from control_plane.repos.mirrors import RevisionUnknown
from sandboxes.errors import BlobMissing, ImageMissing, SandboxError

ROOT = Path(__file__).parents[3]
SCRIPTS = {"__main__.py", "inside.py"}
"""Programs: importing one runs it, or it is not imported by us."""


def test_an_error_is_told_by_the_row_of_its_nearest_class():
    assert answer_to(RevisionUnknown("x")).kind == "repository"
    assert answer_to(BlobMissing("x")).http_status == 404
    assert answer_to(ImageMissing("image", "missing")).kind == "sandbox"
    assert answer_to(ZeroDivisionError()) is BUG


def test_kinds_are_unique_and_statuses_are_of_errors():
    rows = [*ANSWERS.values(), *HTTP.values(), BUG]

    assert len({row.kind for row in rows}) == len(rows)
    assert all(400 <= row.http_status < 600 for row in rows)


@pytest.mark.parametrize("row", [*ANSWERS.values(), *HTTP.values(), BUG], ids=lambda row: row.kind)
def test_every_error_says_who_must_act_and_what_to_do_next(row):
    """What the platform cannot do is never the sender's to mend."""
    told = json.loads(problem(row, "so it is").body)

    assert row.who is (Who.OPERATOR if row.http_status >= 500 else Who.SENDER)
    assert (told["who"], told["next"]) == (row.who, row.next)
    assert len(row.next.split()) >= 2, "a sentence"


@pytest.mark.parametrize("status", [401, 406, 418, 500, 504])
def test_a_bare_status_has_both_too(status):
    row = answer_with(status)

    assert row.http_status == status
    assert row.who is (Who.OPERATOR if status >= 500 else Who.SENDER)


def test_the_command_line_shows_both():
    response = httpx.Response(503, content=problem(ANSWERS[SandboxError], "no engine").body)

    told = str(_refusal(response))

    assert told.splitlines()[0] == "no engine"
    assert told.splitlines()[-1] == f"next (operator): {ANSWERS[SandboxError].next}"


@pytest.mark.parametrize("detail", ["half \ud800 of a pair", "\x00", "x" * 10_000])
def test_a_problem_can_be_sent_whatever_it_complains_about(detail):
    assert len(problem(HTTP[400], detail, errors=[("a\udcff", detail)]).body) < 20_000


OUR_OWN = {
    "control_plane.cli.errors.CliError": "what the table's rows become on the command line",
    "control_plane.gateway.egress.Malformed": "the door answers its sandbox",
    "control_plane.gateway.grants.NotGranted": "a stage was planned with more than the table gives",
    "control_plane.gateway.numbering.Refused": "the door answers its sandbox",
    "control_plane.gateway.ports.StreamsSealed": "the door answers its sandbox",
    "control_plane.gateway.ports.SubmitsSealed": "the door answers its sandbox",
    "control_plane.gateway.ports.TooManyAttempts": "the door answers its sandbox",
    "control_plane.gateway.sockets.NoDirectory": "the gateway looks again later",
    "control_plane.gateway.sockets.Served": "another gateway has the door",
    "control_plane.gateway.tunnel.CapReached": "the tunnel ends",
    "control_plane.repos.environments.layers.EnvironmentRefused": "the prepare run's cause of loss",
    "control_plane.orchestrator.limited_judge.EvidenceTooLarge": "the verdict says it",
    "control_plane.repos.environments.index.NoPackageIndex": "the prepare run's cause of loss",
    "quality_gates.gates.scanning.Unusable": "the gate is inconclusive or errored, and says why",
    "quality_gates.parsers.reading.ParseError": "the gate is inconclusive or errored, and says why",
    "runners.git_objects.Shrunk": "dehydrate refuses the file",
    "runners.capsule.BadCapsule": "the runner ends, inside the sandbox",
    "runners.layers.CannotPack": "the driver fails, inside the sandbox",
    "runners.git_private.GitFailed": "the collection is refused, and the outcome says why",
    "runners.git_private.GitLimit": "dehydrate refuses the change as too large",
    "runners.hostile_tree.TreeLimit": "dehydrate refuses the tree",
    "runners.hostile_tree.Unreadable": "dehydrate refuses the file",
    "runners.uplink.DoorAway": "the runner tries again, inside the sandbox",
    "runners.uplink.DoorRefuses": "the runner drops the stream, inside the sandbox",
    "runners.uplink.StreamFull": "the runner drops the stream, inside the sandbox",
    "sandboxes.docker.image_recipe.BuildFailed": "`make images` prints it",
    "sandboxes.docker.upper.HostileTree": "the outcome says that nothing could be collected",
}
"""Errors that never reach a person as errors: class -> what becomes of them."""


def errors_of_the_product():
    for room in ("control_plane", "sandboxes", "runners", "quality_gates"):
        for file in sorted((ROOT / room).rglob("*.py")):
            if (
                not {"migrations", "judge_plugin", "examples"} & set(file.parts)
                and file.name not in SCRIPTS
            ):
                parts = file.relative_to(ROOT).with_suffix("").parts
                module = importlib.import_module(
                    ".".join(part for part in parts if part != "__init__")
                )
                for name, value in vars(module).items():
                    ours = (
                        isinstance(value, type)
                        and issubclass(value, Exception)
                        and value.__module__ == module.__name__
                    )
                    if ours and not name.startswith("_"):
                        yield f"{module.__name__}.{name}", value


def test_every_error_of_the_product_is_in_the_table_or_has_another_end():
    errors = dict(errors_of_the_product())
    told = {name for name, error in errors.items() if answer_to(error.__new__(error)) is not BUG}
    own = {
        name
        for name, error in errors.items()
        if any(f"{b.__module__}.{b.__qualname__}" in OUR_OWN for b in error.__mro__)
    }

    assert set(errors) - told - own == set()
    assert told & own == set()
    assert set(OUR_OWN) - set(errors) == set()


def test_every_row_of_the_table_is_raised_somewhere():
    code = "\n".join(
        file.read_text()
        for room in ("control_plane", "sandboxes")
        for file in (ROOT / room).rglob("*.py")
    )

    def raised(error):
        names = [error.__name__, *(sub.__name__ for sub in error.__subclasses__())]
        return any(re.search(rf"raise {name}\b", code) for name in names)

    assert [error.__name__ for error in ANSWERS if not raised(error)] == []
