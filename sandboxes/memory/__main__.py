"""`python -m sandboxes.memory --home DIRECTORY --image NAME=FOLDER`: the engine as a process."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from sandboxes.memory.engine import Engine
from sandboxes.memory.server import held, prepared, serve


def main() -> int:
    """Serve until SIGTERM or SIGINT; sandboxes go on."""
    arguments = _parser().parse_args()
    images = {name: Path(folder) for name, _, folder in (i.partition("=") for i in arguments.image)}
    try:
        with held(arguments.home):
            engine = prepared(arguments.home, images, lose=arguments.lose)
            asyncio.run(_until_told(engine, arguments.home))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandboxes.memory", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="a short path of its own")
    parser.add_argument("--image", action="append", default=[], help="NAME=FOLDER of /opt/vsc")
    parser.add_argument("--lose", action="store_true", help="end sandboxes of an earlier engine")
    return parser


async def _until_told(engine: Engine, home: Path) -> None:
    serving = asyncio.ensure_future(serve(engine, home))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await serving


if __name__ == "__main__":
    sys.exit(main())
