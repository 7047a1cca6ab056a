"""What an engine makes belongs to one process: a forked child has its memory, but not its threads.

A call of the parent's model in a child may wait for these threads forever, and so may freeing the model, even when the
child exits. So a child leaves alone what it inherits, and opens its own at the first call.
"""

import ctypes
import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

_Value = TypeVar("_Value")


class Inherited(Protocol):
    """An object that has to know when it is in a forked child."""

    def _leave_to_parent(self) -> None:
        """Called in each new child, before anything else runs there."""


_inherited: "WeakSet[Inherited]" = WeakSet()


def watch_forks(owner: Inherited) -> None:
    """Call the `_leave_to_parent` of an object in each child that is forked from now on."""
    _inherited.add(owner)


def never_free(value: object) -> None:
    """Keep an object until the process ends, even when the interpreter clears everything."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


class PerProcess(Generic[_Value]):
    """A value that is made at once, and again in a forked child at its first use there.

    Args:
        make: makes the value; what it raises is raised to the caller, in a child by `get`.
    """

    def __init__(self, make: Callable[[], _Value]) -> None:
        self._make = make
        self._lock = Lock()
        self._closed = False
        self._value: _Value | None = make()
        watch_forks(self)

    def get(self) -> _Value:
        """Return this process's value.

        Raises:
            RuntimeError: it was closed.
        """
        if (value := self._value) is not None:
            return value
        with self._lock:
            if self._closed:
                raise RuntimeError("this session is closed")
            if self._value is None:
                self._value = self._make()
            return self._value

    def close(self) -> None:
        """Let go of the value; a running call keeps it until it ends."""
        with self._lock:
            self._closed = True
            self._value = None

    def _leave_to_parent(self) -> None:
        never_free(self._value)
        self._value = None
        self._lock = Lock()  # another thread of the parent may have held it


def _in_child() -> None:
    for owner in list(_inherited):
        owner._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
