"""One contender, one process: asked by a JSON line on standard input, answering with one on standard output.

Engines bring thread pools, and peers bring versions, that do not bear each other in one process. So the benchmark asks
processes in turn, and the one that is asked measures its own call: what travels between them costs no contender time.

A worker loads one model ("load"), is given a job ("prepare": tokens, or strings), and does that job as often as it is
asked to ("time"), or many times in a row ("times"). The peer's environment imports this file too, so it needs the
standard library and NumPy alone.
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
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
Request = dict[str, Any]
Call = Callable[[], Any]
Prepare = Callable[[Request], Call]
Load = Callable[[Request], tuple[str, Prepare]]
_LEAST_WARM_UPS, _MOST_WARM_UPS, _WARM_UP_SECONDS = 2, 5, 1.0
_SETTLE_SECONDS = 0.1  # a call shorter than this would be timed on caches full of what the contender before it left


class WorkerError(Exception):
    """A contender cannot run here; the message says why."""


class Worker:
    """The parent's end: a process that holds one loaded contender.

    Args:
        command: what to run.
        log: the file that takes all that the process prints.
        environment: variables to set beside the parent's own.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("a", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=log.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, verb: str, **arguments: Any) -> Request:
        """Send one request and wait for its answer.

        Raises:
            WorkerError: the contender failed, or its process ended.
        """
        try:
            self._requests.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended: {self._last_words()}")
        answer: Request = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else f"exit code {self._process.wait()}"


def serve(load: Load) -> None:
    """The worker's end: answer requests until standard input ends.

    Standard output is kept for the answers. Whatever libraries print, from C++ too, goes to standard error.

    Args:
        load: given the "load" request, returns what runs it, in words, and a function from a job to a call.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    handle = _handler(load)
    for line in sys.stdin:
        try:
            answer = handle(json.loads(line))
        except Exception as error:  # whatever it is, the parent reports it as the reason
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _handler(load: Load) -> Callable[[Request], Request]:
    prepare: Prepare | None = None
    call: Call | None = None
    last = 0.0

    def handle(request: Request) -> Request:
        nonlocal prepare, call, last
        if request["verb"] == "load":
            engine, prepare = load(request)
            return {"engine": engine}
        if request["verb"] == "prepare":
            assert prepare is not None
            call, last = prepare(request), 0.0
            return {"numbers": _warm_up(call)} if request.get("warm_up", True) else {}
        assert call is not None
        if request["verb"] == "times":
            return {"seconds": [_timed(call) for _ in range(request["calls"])]}
        if 0 < last < _SETTLE_SECONDS:
            call()
        last = _timed(call)
        return {"seconds": last}

    return handle


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _warm_up(call: Call) -> list[float]:
    """Call until it is as fast as it gets, and return the first row of the result."""
    start = time.perf_counter()
    for done in range(1, _MOST_WARM_UPS + 1):
        result = call()
        if done >= _LEAST_WARM_UPS and time.perf_counter() - start > _WARM_UP_SECONDS:
            break
    return first_row(result)


def first_row(result: Any) -> list[float]:
    """The first row of a torch or NumPy array, to be compared across contenders; nothing of any other result."""
    array = np.asarray(result.float() if hasattr(result, "float") else result)
    numbers: list[float] = array[0].astype(float).tolist() if array.dtype.kind == "f" else []
    return numbers
