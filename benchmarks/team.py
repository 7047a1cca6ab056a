"""The contenders of one table, loaded and asked in turns.

Every round asks each for one timed call, and begins one further along than the round before: whatever the machine does
meanwhile, it does to all of them. One that cannot run stays in the table, with its reason.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peer_sentence_transformers as peer
from benchmarks.contenders import PEER, Contender
from benchmarks.making import is_made, made, make_whole
from benchmarks.place import Place
from benchmarks.texts import calibration_folder
from benchmarks.workers import Request, Worker, WorkerError

Say = Callable[[str], None]
_PAUSE = 0.06  # seconds; ONNX Runtime's threads spin for so long after a call before they sleep


@dataclass(slots=True)
class Team:
    """Loaded contenders by the name of their row, and why the others are not."""

    workers: dict[str, Worker] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def prepare(self, jobs: Mapping[str, Request]) -> dict[str, list[float]]:
        """Give each its job; return the first row of each result, where it was asked to warm up."""
        numbers = {}
        for name, job in jobs.items():
            if (answer := self._ask(name, "prepare", **job)) is not None:
                numbers[name] = answer.get("numbers", [])
        return numbers

    def seconds(
        self, names: Sequence[str], rounds: int, most: Mapping[str, int] | None = None
    ) -> dict[str, list[float]]:
        """The seconds of each call of each contender, alternating.

        Args:
            names: whom to ask.
            rounds: how often.
            most: those that are asked less often than that.
        """
        times: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                if number < (most or {}).get(name, rounds):
                    time.sleep(_PAUSE)
                    if (answer := self._ask(name, "time")) is not None:
                        times[name].append(answer["seconds"])
        return times

    def many_seconds(self, names: Sequence[str], rounds: int, calls: int) -> dict[str, list[float]]:
        """The seconds of each call of each contender, alternating, with so many calls in a row."""
        times: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                if (answer := self._ask(name, "times", calls=calls)) is not None:
                    times[name] += answer["seconds"]
        return times

    def records(self, times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Each contender's median and all its times, in milliseconds; or the reason that it has none."""
        return {
            name: {"reason": self.reasons[name]}
            if name in self.reasons
            else {"ms": median(seconds) * 1000, "all_ms": [round(second * 1000, 3) for second in seconds]}
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
def team(place: Place, kind: str, rows: Mapping[str, Contender], threads: int, say: Say) -> Iterator[Team]:
    """Make what contenders need, load each in a process of its own, and end the processes on the way out."""
    loaded, failed = Team(), dict[str, str]()
    try:
        for name, contender in rows.items():
            try:
                if kind not in contender.kinds:
                    raise WorkerError("it knows no readers")
                for what in contender.needs:
                    if not is_made(place, kind, what):
                        say(f"{kind}: make {what}")
                    folder = _made(place, kind, what, failed)
                say(f"{kind}: load {name}")
                python = place.peer_python if contender.module == PEER else sys.executable
                command = [python, "-m", f"benchmarks.{contender.module}", "serve"]
                worker = Worker(command, place.log(f"{kind} {name}"), place.variables)
                loaded.workers[name] = worker
                request = {"kind": kind, "folder": str(folder), "threads": threads, **contender.options}
                loaded.engines[name] = worker.ask("load", **request)["engine"]
            except (WorkerError, OSError) as error:
                loaded.reasons[name] = str(error)
        yield loaded
    finally:
        for worker in loaded.workers.values():
            worker.close()


def _made(place: Place, kind: str, what: str, failed: dict[str, str]) -> Path:
    """The folder that a contender needs; what failed once is not tried again for the next contender."""
    try:
        if what in failed:
            raise WorkerError(failed[what])
        return _peer(place, kind) if what == PEER else made(place, kind, what)
    except (WorkerError, OSError) as error:
        failed[what] = str(error)
        raise


def _peer(place: Place, kind: str) -> Path:
    """The peer's own model, quantized in the peer's own environment."""
    output = place.of(kind, PEER)
    if not place.peer_python.is_file():
        peer.environment(place.peer, place.log("make peer"))
    if not output.is_dir():
        texts = calibration_folder(place.work / "texts", kind)
        make_whole(place, kind, PEER, [place.peer_python, "-m", f"benchmarks.{PEER}", "make", texts], output)
    return output
