"""Run a command so that it ends as a good citizen of the shell: one line for an error, and an exit code that means it.

0 is success, 1 an error in what was given, 2 wrong usage, 130 Ctrl-C, 143 a request to end, 129 a terminal that was
closed. The last three run every clean-up first, so that nothing half-written stays behind.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

# typer carries its own copy of click in some releases, so its class of usage errors is found by descent.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_REQUESTS: list[int] = []  # signals that asked the running command to end
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXPECTED = (OSError, ValueError, IndexError, TypeError, ImportError, RuntimeError, MemoryError)


@contextmanager
def _signals_answered() -> Iterator[None]:
    """Answer every request to end by ending; those that are ignored, as nohup has it, stay so."""
    _REQUESTS.clear()
    numbers = [number for name in _SIGNALS if (number := getattr(signal, name, None))]
    before = {n: signal.signal(n, _note_and_end) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@_signals_answered()
def run_command(app: typer.Typer, name: str) -> NoReturn:
    """Run `app` on the process's arguments, and exit."""
    try:
        code = app(standalone_mode=False)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
        if code == _INTERRUPTED:  # typer turns Ctrl-C into this
            raise KeyboardInterrupt
    except _USAGE_ERROR as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        where = getattr(getattr(error, "ctx", None), "command_path", None) or name
        _fail(name, f"{message or 'arguments are missing'} (see {where} --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail(name, "interrupted", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except _EXPECTED as error:
        if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):  # libraries turn it into others
            _fail(name, "interrupted", _INTERRUPTED)
        if isinstance(error, MemoryError):
            _fail(name, "there is not enough memory for this", 1)
        _fail(name, _full_disk(error) or str(error) or type(error).__name__, 1)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def signals_deferred() -> Iterator[Callable[[], bool]]:
    """Note a request to end instead of raising it, and raise it at the end of the context.

    For libraries that call back from C++, where nothing may be raised. Yields a function that says whether the work
    should end.
    """
    seen: list[int] = []
    every = [number for name in _SIGNALS if (number := getattr(signal, name, None))]
    numbers = [number for number in every if signal.getsignal(number) not in (None, signal.SIG_IGN)]
    before = {number: signal.signal(number, lambda found, _: seen.append(found)) for number in numbers}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if seen:
            signal.raise_signal(seen[0])


def end_if_asked() -> None:
    """End the command if a signal asked for that, and what it raised was lost.

    Python drops what is raised within a finalizer or a callback of the garbage collector, and libraries run many.
    Called between the steps of long work.
    """
    if _REQUESTS:
        _end(_REQUESTS[0])


def _note_and_end(number: int, _: object) -> None:
    """Answer a signal, once: a second one must not interrupt the clean-up, but that of Ctrl-C is meant to."""
    if number == signal.SIGINT or not _REQUESTS:
        _REQUESTS.append(number)
        _end(number)


def _end(number: int) -> NoReturn:
    """Exit as a shell reports a signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _full_disk(error: BaseException) -> str | None:
    """Plain words for a disk that is full, or a quota that is used up, whatever error of a library that became."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            where = f" with {cause.filename}" if cause.filename else ""
            return f"the disk is full{where} ({cause.strerror}): free some space, or write elsewhere"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fail(name: str, message: str, code: int) -> NoReturn:
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(message.split()))
    print(f"{name}: {line}", file=sys.stderr)
    sys.exit(code)
