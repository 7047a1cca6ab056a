"""Run a Typer app with one-line errors and standard exit codes.

0 is success, 1 an error, 2 wrong usage, 130 Ctrl-C (SIGINT), 143 SIGTERM, 129 a closed terminal (SIGHUP). After a
signal every clean-up runs first, so that nothing half-written is left behind.
"""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from dpr_export.models.artifact.variants import AccuracyWarning

# Some releases of typer bundle click, so its class of usage errors is looked up as a base class.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_RECEIVED: list[int] = []  # the signals that the running command got
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXPECTED = (OSError, ValueError, IndexError, TypeError, ImportError, RuntimeError, MemoryError)


@contextmanager
def _handle_signals(handle: Callable[[int, object], None]) -> Iterator[None]:
    """Handle each of _SIGNALS; those that are ignored, as under nohup, stay ignored."""
    numbers = [number for name in _SIGNALS if (number := getattr(signal, name, None))]
    numbers = [number for number in numbers if signal.getsignal(number) not in (None, signal.SIG_IGN)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _print_warnings(name: str) -> Iterator[None]:
    """Print warnings about a variant's accuracy as one line."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def print_line(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, AccuracyWarning):
                print(f"{name}: warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place)

        warnings.showwarning = print_line  # type: ignore[assignment]
        yield


@_handle_signals(lambda number, _: _receive(number))
def run_command(app: typer.Typer, name: str) -> NoReturn:
    """Run `app` with the process's arguments, and exit; `name` begins every error message."""
    _RECEIVED.clear()
    try:
        with _print_warnings(name):
            code = app(prog_name=name, standalone_mode=False)
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
        if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):  # a library wrapped it
            _fail(name, "interrupted", _INTERRUPTED)
        if isinstance(error, MemoryError):
            _fail(name, "not enough memory", 1)
        _fail(name, _explain_full_disk(error) or str(error) or type(error).__name__, 1)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def defer_signals() -> Iterator[Callable[[], bool]]:
    """Hold back signals until the end of the context, for libraries whose callbacks from C++ must not raise.

    Yields a function that says whether a signal came, so that the work can stop early.
    """
    seen: list[int] = []
    try:
        with _handle_signals(lambda number, _: seen.append(number)):
            yield lambda: bool(seen)
    finally:
        if seen:
            signal.raise_signal(seen[0])


def exit_if_signaled() -> None:
    """Exit if a signal came whose exception was lost; long work calls this between its steps.

    Python drops exceptions that are raised in finalizers and callbacks of the garbage collector.
    """
    if _RECEIVED:
        _exit(_RECEIVED[0])


def _receive(number: int) -> None:
    """Exit on the first signal. Later ones must not interrupt the clean-up, except Ctrl-C, which is meant to."""
    if number == signal.SIGINT or not _RECEIVED:
        _RECEIVED.append(number)
        _exit(number)


def _exit(number: int) -> NoReturn:
    """Exit with the code by which shells report a signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _explain_full_disk(error: BaseException) -> str | None:
    """A message for a full disk or an exhausted quota, if that is behind an error; else None."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            where = f" with {cause.filename}" if cause.filename else ""
            return f"the disk is full{where} ({cause.strerror}): free some space, or write elsewhere"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fail(name: str, message: str, code: int) -> NoReturn:
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(message.split()))
    print(f"{name}: {line}", file=sys.stderr)
    sys.exit(code)
