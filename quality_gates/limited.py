"""The judge as a program: what is judged comes in by a file, the report goes out by another.

Raw outputs are hostile, and a few megabytes of JSON can become gigabytes of objects. So they are
parsed here, in a process that limits itself before it reads anything. Its parent does not parse.
"""

import pickle
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from quality_gates.judge import judge
from quality_gates.model import (
    Change,
    Environment,
    GatePolicy,
    Stage,
    StageEvidence,
    TaskReport,
)


@dataclass(frozen=True, slots=True)
class JudgeLimits:
    """What the evidence of one change may cost."""

    memory_bytes: int = 2 * 2**30
    cpu_s: int = 120
    time_s: float = 300.0
    report_bytes: int = 64 * 2**20


Question = tuple[Change, GatePolicy, Environment, str, Mapping[Stage, StageEvidence]]
"""The arguments of `quality_gates.judge.judge`."""


def write_question(question: Question, file: Path) -> None:
    """What the program is to judge."""
    with file.open("wb") as stream:
        pickle.dump(question, stream, pickle.HIGHEST_PROTOCOL)


def read_report(file: Path) -> TaskReport:
    """The program's report. Only values of ours come out of the file, whatever is in it."""
    with file.open("rb") as stream:
        return cast("TaskReport", _Values(stream).load())


class _Values(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module != "quality_gates.model" or "." in name:
            raise pickle.UnpicklingError(f"a report holds no {module}.{name}")
        return super().find_class(module, name)


def main(argv: list[str]) -> None:
    """`memory_bytes cpu_s report_bytes question report`."""
    memory_bytes, cpu_s, report_bytes = map(int, argv[:3])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
    resource.setrlimit(resource.RLIMIT_FSIZE, (report_bytes, report_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question, report = Path(argv[3]), Path(argv[4])
    with question.open("rb") as stream:
        asked = cast("Question", pickle.load(stream))  # noqa: S301 -- our parent wrote it
    with report.open("wb") as stream:
        pickle.dump(judge(*asked), stream, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(sys.argv[1:])
