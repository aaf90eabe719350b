"""What each gate asks of a change, and what its author can do next: words for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quality_gates.model import Verdict


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one gate."""

    asks: str
    next_step: str
    """Where it says `failed`."""


ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "tests": Advice(
            "every test that passes on base passes on head, and so does every new or edited test",
            "run the tests that are named on the change, and mend it; where one must change, let"
            " the change edit tests (`--allow-test-changes`, a task's `test_changes_allowed`)",
        ),
        "new_tests": Advice(
            "a feature or a fix brings a test that fails without the change and passes with it",
            "add one; a change that is to alter no behaviour is of `--type refactor`",
        ),
        "coverage": Advice(
            "the tests run the lines that the change brings, and go on running what they ran",
            "add tests that run the lines that are named; a packet's `coverage_minimum` says how"
            " many must be",
        ),
        "lint": Advice(
            "no new finding of the rules that the project keeps to itself",
            "mend the lines that are named; where a rule must be broken, `# noqa: RULE` in the"
            " line says so",
        ),
        "bandit": Advice(
            "no new security finding in what the change brings to the product",
            "write it another way; a packet's `security_level` says from which severity on a"
            " finding blocks",
        ),
        "semgrep": Advice(
            "no new security finding in what the change brings to the product",
            "write it another way; a packet's `security_level` says from which severity on a"
            " finding blocks",
        ),
        "secrets": Advice(
            "no new secret in any file",
            "take it out of every commit, and if it was ever valid, make it invalid where it was"
            " issued",
        ),
        "integrity": Advice(
            "the change is one that can be judged as it stands, and silences no judge",
            "take out what is named; dependencies may change with `--allow-dependency-changes`"
            " (a task's `dependency_changes_allowed`)",
        ),
    }
)
_OTHERWISE: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.FLAKY: "judge the same change again (`vsc judge`); mend the test that is named",
        Verdict.INCONCLUSIVE: "nobody is blamed: what is named kept the judge from its answer;"
        " mend that, then `vsc judge` judges the same change again",
        Verdict.ERRORED: "this is the platform's fault: `vsc doctor` may know why; then `vsc judge`"
        " judges the same change again",
        Verdict.TAMPERED: "somebody should look at the change: it makes tests or measurements say"
        " what they did not find",
    }
)


def next_step(gate: str, verdict: Verdict) -> str:
    """What can be done about a gate's verdict; empty where there is nothing to do, or to say."""
    if verdict is Verdict.FAILED:
        return ADVICE[gate].next_step if gate in ADVICE else ""
    return _OTHERWISE.get(verdict, "")
