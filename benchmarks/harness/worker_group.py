"""Load the contenders of one table, and time them in turns.

Each round asks every contender for its calls, and starts one contender later than the round before, so that noise of
the machine meets all of them alike. A contender that cannot run stays in the table, with the reason.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.harness.command import Run
from benchmarks.harness.contenders import Contender
from benchmarks.harness.model_files import SENTENCE_TRANSFORMERS
from benchmarks.harness.workers import Request, Worker, WorkerError

LEAST_ROUNDS = 2
COMPILE_SECONDS = 300.0  # the longest load or first call; torch.compile takes a minute or two for a new shape
_PAUSE = 0.06  # seconds until ONNX Runtime's threads stop spinning after a call


def as_milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """The median of some seconds and all of them, in milliseconds."""
    return {"ms": median(seconds) * 1000, "all_ms": [round(second * 1000, 3) for second in seconds]}


@dataclass(slots=True)
class WorkerGroup:
    """Contenders by name: the loaded ones with their engines, and the reason for each that cannot run."""

    workers: dict[str, Worker] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def prepare(self, jobs: Mapping[str, Request], timeout: float = COMPILE_SECONDS) -> dict[str, Request]:
        """Give each contender its job and warm it up; return the "seconds" of a call and the first "row" of its result.

        A job with `warm_up: False` is not called, and its answer is empty.
        """
        answers = {name: self._ask(name, "prepare", timeout=timeout, **job) for name, job in jobs.items()}
        return {name: answer for name, answer in answers.items() if answer is not None}

    def time_calls(
        self,
        names: Sequence[str],
        rounds: int,
        *,
        calls: int = 1,
        most: Mapping[str, int] | None = None,
        seconds: float | None = None,
    ) -> dict[str, list[float]]:
        """Time the calls of each contender, in turns; return the seconds of every call.

        Args:
            names: the contenders.
            rounds: the number of rounds.
            calls: how many calls in a row a contender makes in its turn.
            most: contenders that take part in fewer rounds than `rounds`, and in how many.
            seconds: after so much time no further round begins, once `LEAST_ROUNDS` are done.
        """
        times: dict[str, list[float]] = {name: [] for name in names}
        start = time.perf_counter()
        for number in range(rounds):
            if seconds is not None and number >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
                break
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                if number < (most or {}).get(name, rounds):
                    time.sleep(_PAUSE if calls == 1 else 0)
                    if (answer := self._ask(name, "time", calls=calls)) is not None:
                        times[name] += answer["seconds"]
        return times

    def as_records(
        self, times: Mapping[str, Sequence[float]], summarize: Callable[[Sequence[float]], Any] = as_milliseconds
    ) -> dict[str, Any]:
        """What `summarize` makes of each contender's seconds, or the reason that there are none."""
        return {
            name: {"reason": self.reasons[name]} if name in self.reasons else summarize(seconds)
            for name, seconds in times.items()
        }

    def _ask(self, name: str, verb: str, **arguments: Any) -> Request | None:
        if name in self.reasons:
            return None
        try:
            return self.workers[name].ask(verb, **arguments)
        except WorkerError as error:
            self.reasons[name] = str(error)
            return None


@contextmanager
def load_group(run: Run, kind: str, contenders: Mapping[str, Contender]) -> Iterator[WorkerGroup]:
    """Make the contenders' models, load each in a process of its own, and end the processes on the way out."""
    group = WorkerGroup()
    with ExitStack() as stack:
        for name, contender in contenders.items():
            try:
                if kind not in contender.kinds:
                    raise WorkerError("it does not support readers")
                folder = run.make_model(kind, *contender.needs)
                run.say(f"{kind}: load {name}")
                python = run.work.other_python if SENTENCE_TRANSFORMERS in contender.needs else sys.executable
                command = [python, "-m", f"benchmarks.{contender.module}", "serve"]
                worker = group.workers[name] = Worker(command, run.work.log(f"{kind} {name}"), run.work.variables)
                stack.callback(worker.close)
                request = {"kind": kind, "folder": str(folder), "threads": run.threads, **contender.options}
                group.engines[name] = worker.ask("load", timeout=COMPILE_SECONDS, **request)["engine"]
            except (WorkerError, OSError) as error:
                group.reasons[name] = str(error)
        yield group
