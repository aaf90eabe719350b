"""What the supervisor's child does, by the kind of its driver."""

import contextlib
import os
import signal
from typing import NoReturn

from runners import process
from runners.protocol import Driver
from runners.surroundings import Surroundings


def drive(
    driver: Driver, surroundings: Surroundings, stdout: int, stderr: int, go: int
) -> NoReturn:
    """Be the driver: never returns.

    Runs in the child between fork and exec, or for its whole life.
    """
    code = 125
    try:
        os.setsid()
        _take_over(stdout, stderr)
        process.volunteer_for_oom()
        os.read(go, 1)  # ends when the supervisor is ready
        os.close(go)
        code = _run(driver, surroundings)
    except BaseException as error:  # noqa: BLE001 -- nothing may return into the supervisor's code in this process
        with contextlib.suppress(BaseException):
            surroundings.refuse(f"{driver.kind}: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _run(driver: Driver, surroundings: Surroundings) -> int:
    # Imported here: a sandbox needs one of them, and each costs a few milliseconds of every start.
    if driver.kind == "command":
        from runners.drivers.command import run_command  # noqa: PLC0415 -- see above

        run_command(driver, surroundings)
    if driver.kind == "verify":
        from runners.verify import verify  # noqa: PLC0415 -- see above

        return verify(driver.tools, surroundings)
    from runners.drivers.prepare import prepare  # noqa: PLC0415 -- see above

    return prepare(driver, surroundings)


def _take_over(stdout: int, stderr: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        if source > 2:
            os.close(source)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # Python ignores them; a program expects the default
        signal.signal(number, signal.SIG_DFL)
