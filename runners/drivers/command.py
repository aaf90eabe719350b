"""The driver that is any command: it becomes it."""

import os
from typing import NoReturn

from runners.protocol import CommandDriver
from runners.surroundings import Surroundings


def run(driver: CommandDriver, surroundings: Surroundings) -> NoReturn:
    """Become `driver.argv` in the workspace.

    Raises OSError if there is no such program or no workspace.
    """
    environ = {**os.environ, **driver.environ, **surroundings.environ}
    try:
        os.chdir(surroundings.workspace)
        os.execvpe(driver.argv[0], driver.argv, environ)  # noqa: S606 -- no shell is wanted
    except OSError as error:
        raise OSError(
            f"cannot start {driver.argv[0]!r} in {surroundings.workspace}: {error.strerror}"
        ) from error
