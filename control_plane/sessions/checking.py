"""A hostile document is checked in a process of its own, with a limit of time and of memory.

A pattern that backtracks holds the whole interpreter, and so would hold every door of a gateway.
"""

import asyncio
import contextlib
import json
import math
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from control_plane.sessions.documents import DOCUMENT_BYTES, Wrong, wrong_with

CPU_S = 20
MEMORY_BYTES = 2**30
"""Address space. Reading the largest document took 86 MiB of memory."""
_WALL_S = 300.0
_MODULE = "control_plane.sessions.checking"
_READY = b"ready\n"
_TOO_MUCH = Wrong("$", "takes too much time or memory to check; make it smaller")


async def checked(
    content: bytes,
    schema: Mapping[str, Any],
    *,
    cpu_s: int = CPU_S,
    memory_bytes: int = MEMORY_BYTES,
) -> list[Wrong]:
    """`wrong_with`, however hostile the content is.

    Raises RuntimeError or OSError: this machine could not check it; try again.
    """
    if len(content) > DOCUMENT_BYTES:
        return [Wrong("$", f"{len(content)} bytes; at most {DOCUMENT_BYTES} are read")]
    argv = (sys.executable, "-I", "-m", _MODULE, str(cpu_s), str(memory_bytes))
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(_WALL_S):
            told, _ = await process.communicate(json.dumps(schema).encode() + b"\n" + content)
    except TimeoutError as error:
        raise RuntimeError(f"a document was not checked within {_WALL_S:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return _read(told, process.returncode)


def _read(told: bytes, code: int | None) -> list[Wrong]:
    if not told.startswith(_READY) or code == -signal.SIGKILL:
        raise RuntimeError(f"the check of a document was ended from outside ({code})")
    if code != 0:
        return [_TOO_MUCH]
    return [Wrong(**one) for one in json.loads(told.removeprefix(_READY))]


def main() -> None:
    """The other process: schema and document come on stdin, what is wrong goes to stdout."""
    cpu_s, memory_bytes = map(int, sys.argv[1:])
    started_s = math.ceil(time.process_time())  # what the imports took is not the document's
    resource.setrlimit(resource.RLIMIT_CPU, (started_s + cpu_s, started_s + cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    schema, content = json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()
    try:
        wrong = wrong_with(content, schema)
    except (MemoryError, SystemError):  # the second is how CPython ends deep inside
        wrong = [_TOO_MUCH]
    except Exception as error:  # noqa: BLE001 -- the schema was good, so the document is at fault
        wrong = [Wrong("$", f"could not be checked: {type(error).__name__}")]
    sys.stdout.buffer.write(json.dumps([asdict(one) for one in wrong]).encode())


if __name__ == "__main__":
    main()
