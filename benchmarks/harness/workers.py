"""Run one contender in a process of its own, which answers requests: a JSON line in, a JSON line out.

Two engines in one process disturb each other, and some contenders need other versions of the same package. Each worker
times its own calls. It answers three verbs: "load" a model, "prepare" a job and warm it up, and "time" calls of that
job. The environment of sentence-transformers imports this file too: it needs only the standard library and NumPy.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import TIMEOUT_MAX, Timer
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent.parent
Request = dict[str, Any]
Call = Callable[[], Any]
Loaded = tuple[str, Callable[[Request], Call]]  # the engine's name, and what makes a call of a job
_WARM_UP_CALLS, _WARM_UP_SECONDS = range(2, 6), 1.0  # calls until a second has passed, at least two and at most five
_SETTLE_SECONDS = 0.1  # shorter calls are repeated once untimed: the contender before has filled the caches


class WorkerError(Exception):
    """A contender cannot run here; the message gives the reason."""


def last_line(log: Path, otherwise: str) -> str:
    """The last line of a log, cut at 200 characters, or another text if the log is empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else otherwise


class Worker:
    """The parent's side of a worker process, which prints into `log`; `variables` are set in its environment."""

    def __init__(self, command: Sequence[str | Path], log: Path, variables: Mapping[str, str]) -> None:
        self._log = log
        with log.open("a", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=log.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, verb: str, timeout: float | None = None, **arguments: Any) -> Request:
        """Send one request and wait for the answer.

        Raises:
            WorkerError: the contender failed, its process ended, or it was stopped because `timeout` seconds passed.
        """
        start, stop = time.monotonic(), Timer(timeout or TIMEOUT_MAX, self._process.kill)
        stop.start()
        try:
            self._requests.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            stop.cancel()
        if not line and timeout and time.monotonic() - start >= timeout:
            raise WorkerError(f"stopped: its {verb} request took more than {timeout:.0f} s")
        if not line:
            raise WorkerError(f"its process ended: {last_line(self._log, f'exit code {self._process.wait()}')}")
        answer: Request = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process; kill it if it has not ended after 30 seconds."""
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def serve(load: Callable[[Request], Loaded]) -> None:
    """Answer requests until standard input ends: the worker's side. `load` takes the "load" request.

    Standard output carries only the answers. What libraries print, also from C++, goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    prepare: Callable[[Request], Call]
    call: Call
    last = 0.0
    for line in sys.stdin:
        request, answer = json.loads(line), dict[str, Any]()
        try:
            if request["verb"] == "load":
                answer["engine"], prepare = load(request)
            elif request["verb"] == "prepare":
                call, last = prepare(request), 0.0
                if request.get("warm_up", True):
                    answer = _warm_up(call)
            else:
                if request["calls"] == 1 and 0 < last < _SETTLE_SECONDS:
                    call()
                answer["seconds"] = [_time_call(call)[0] for _ in range(request["calls"])]
                last = answer["seconds"][-1]
        except Exception as error:  # the parent reports any error as the reason
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _time_call(call: Call) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _warm_up(call: Call) -> Request:
    """Repeat a call until it is at full speed; return the seconds of the last, and the first row of its result."""
    start = time.perf_counter()
    for count in range(1, _WARM_UP_CALLS.stop):
        seconds, result = _time_call(call)
        if count in _WARM_UP_CALLS and time.perf_counter() - start > _WARM_UP_SECONDS:
            break
    return {"seconds": seconds, "row": first_row(result)}


def first_row(result: Any) -> list[float]:
    """The first row of a floating-point torch or NumPy array, to compare contenders by; empty for other results."""
    array = np.asarray(result.float() if hasattr(result, "float") else result)
    row: list[float] = array[0].astype(float).tolist() if array.dtype.kind == "f" else []
    return row
