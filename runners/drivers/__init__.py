"""What the supervisor's child does: it runs the module of its driver's kind."""

import contextlib
import importlib
import os
import signal
from typing import NoReturn

from runners import process
from runners.protocol import Driver, kind_of
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
    except BaseException as error:  # noqa: BLE001 -- nothing may return into the supervisor's code
        with contextlib.suppress(BaseException):
            surroundings.refuse(f"{kind_of(driver)}: {type(error).__name__}: {error}")
    finally:
        os._exit(code)


def _run(driver: Driver, surroundings: Surroundings) -> int:
    # A sandbox needs one driver; importing the others would cost every start some milliseconds.
    module = importlib.import_module(f"runners.drivers.{kind_of(driver)}")
    code: int = module.run(driver, surroundings)
    return code


def _take_over(stdout: int, stderr: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        if source > 2:
            os.close(source)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Python ignores these two; a program expects the default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
