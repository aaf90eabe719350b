"""How every process of ours logs: set once, where it begins."""

import logging
from typing import TextIO

import structlog


def configure_logs(stream: TextIO, *, verbose: bool = False) -> None:
    """Logs go to `stream`; without `verbose`, from warnings on.

    Tracebacks are plain: structlog's own show every local variable (a database's address with its
    password), and to walk through what they hold may take minutes, while the event loop waits.
    """
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(stream=stream, level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
