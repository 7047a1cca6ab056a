"""Run calls one after another on a worker thread, for libraries that keep state for each thread that calls them.

The standard library's executors do not serve: they refuse work once the main thread has ended, though others still run.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar
from weakref import finalize

_Result = TypeVar("_Result")
_Work = tuple["Future[Any]", Callable[[], Any]]


class WorkerThread:
    """A thread that runs until `end` is called or this object is deleted.

    Args:
        name: what the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._lock = Lock()
        self._ended = False
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = Thread(target=_work, args=(self._queue,), name=name, daemon=True)
        self._thread.start()
        finalize(self, self._queue.put, None)

    def run(self, call: Callable[[], _Result]) -> _Result:
        """Run a call on the thread, and return its result.

        Raises:
            RuntimeError: the thread was ended; or this is another process, forked from the one that it runs in.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this session is another process's: load the model after forking")
        future: Future[_Result] = Future()
        with self._lock:
            if self._ended:
                raise RuntimeError("this session is closed")
            self._queue.put((future, call))
        return future.result()

    def end(self, last: Callable[[], object] = lambda: None) -> None:
        """Let the thread finish what it was given, call `last` on it, and end it. A second call does nothing."""
        if os.getpid() != self._process:  # there its lock may be held forever
            return
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._queue.put((Future(), last))
            self._queue.put(None)
        self._thread.join()


def _work(queue: "SimpleQueue[_Work | None]") -> None:
    while (given := queue.get()) is not None:
        future, call = given
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del given, future, call
