"""Silence the loggers of libraries whose messages mean nothing to a user of this package."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logger(name: str | None = None, level: int = logging.CRITICAL) -> Iterator[None]:
    """Hold back a logger's records below `level`, and restore its level and its handlers on exit.

    A library that calls `logging.basicConfig` meanwhile changes nothing, because the logger has a handler already.
    """
    logger = logging.getLogger(name)
    old_handlers, old_level = logger.handlers[:], logger.level
    logger.addHandler(logging.NullHandler())
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.handlers[:] = old_handlers
        logger.setLevel(old_level)
