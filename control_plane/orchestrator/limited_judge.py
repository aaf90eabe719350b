"""Asks the judge in a process of its own, so that hostile evidence costs that process alone."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from quality_gates.limited import JudgeLimits, Question, read_report, write_question
from quality_gates.model import TaskReport

JUDGES = 2
"""At once in one process: each may take all the memory of its limits."""
_ENDED_BY = {
    -signal.SIGXCPU: "processor time",
    -signal.SIGKILL: "memory or processor time",
    -signal.SIGXFSZ: "bytes of its report",
}


class EvidenceTooLarge(Exception):
    """What the tools left is more than the judge reads."""


class LimitedJudge:
    """`quality_gates.judge.judge` under limits."""

    def __init__(self, limits: JudgeLimits | None = None) -> None:
        self._limits, self._free = limits or JudgeLimits(), asyncio.Semaphore(JUDGES)

    async def judge(self, question: Question) -> TaskReport:
        """The report. Raises EvidenceTooLarge; any other failure of the judge is ours."""
        async with self._free:
            with tempfile.TemporaryDirectory(prefix="vsc-judge-") as folder:
                asked, report = Path(folder, "question"), Path(folder, "report")
                await asyncio.to_thread(write_question, question, asked)
                await self._run(asked, report)
                return await asyncio.to_thread(read_report, report)

    async def _run(self, asked: Path, report: Path) -> None:
        limits = self._limits
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "quality_gates.limited",
            *map(str, (limits.memory_bytes, limits.cpu_s, limits.report_bytes, asked, report)),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        try:
            async with asyncio.timeout(limits.time_s):
                _, errors = await process.communicate()
        except TimeoutError:
            raise _too_large("time", limits) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode in _ENDED_BY:
            raise _too_large(_ENDED_BY[process.returncode], limits)
        if process.returncode != 0:
            words = errors[-4000:].decode(errors="replace").strip()
            if words.rpartition("\n")[2].startswith("MemoryError"):
                raise _too_large("memory", limits)
            raise RuntimeError(f"the judge ended with {process.returncode}: {words[-1500:]}")


def _too_large(what: str, limits: JudgeLimits) -> EvidenceTooLarge:
    return EvidenceTooLarge(
        f"the judge needed too much {what} to read what the tools left ({limits});"
        " look at the outputs of the judge's stages: whoever wrote them wrote too much"
    )
