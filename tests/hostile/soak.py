"""Run sessions for long, on many threads, and open and close many: do results stay right, and memory and files flat?

    python -m tests.hostile.soak --minutes 10 --opened 500

It exports tiny models, runs the question encoder and the reader on OpenVINO and ONNX Runtime from 8 threads at once, a
quarter of the time each, with a line every 30 seconds; then it opens and closes sessions. Exit code 1 where a result
differed or something grew. It reads /proc, so it needs Linux.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.session import Feeds, Outputs, Session, open_session

ENGINES = ("openvino", "onnxruntime")
SOAKED = ("question", "reader")
THREADS = 8
SHAPES = ((1, 1), (1, 7), (1, 16), (2, 31), (4, 64), (3, 100), (8, 24), (1, 512))
CALLS = 24  # different ones, three of each shape
VOCABULARY = 100
GROWTH = 24.0  # MB: what allocators keep for themselves differs by a few; a leak of 1 kB a call is more than this


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds: resident memory in MB, open files, threads."""

    memory: float
    files: int
    threads: int

    @classmethod
    def now(cls) -> "Usage":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files, threads = (sum(1 for _ in Path("/proc/self", name).iterdir()) for name in ("fd", "task"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files, threads)

    def __str__(self) -> str:
        return f"{self.memory:8.1f} MB, {self.files} files, {self.threads} threads"


def calls_for(kind: str) -> list[Feeds]:
    """Calls of several shapes, with padding."""
    chance = np.random.default_rng(0)
    calls = []
    for number in range(CALLS):
        rows, length = SHAPES[number % len(SHAPES)]
        ids = chance.integers(5, VOCABULARY, (rows, length))
        mask = (np.arange(length) < chance.integers(1, length + 1, (rows, 1))).astype(np.int64)
        every = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        calls.append({name: every[name] for name in KINDS[kind].inputs})
    return calls


def largest_difference(found: Outputs, wanted: Outputs) -> float:
    """0.0 where two results are the same bit for bit, else the largest difference, infinite for another shape."""
    if any(found[name].shape != wanted[name].shape for name in wanted):
        return float("inf")
    return max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted)


def pressed(session: Session, calls: list[Feeds], wanted: list[Outputs], seconds: float) -> Iterator[tuple[int, float]]:
    """Run calls from many threads until the time is up; yield, each 30 seconds and at the end, how many calls were made
    so far and the largest difference to what is wanted."""
    end, made, worst = time.monotonic() + seconds, [0] * THREADS, [0.0] * THREADS
    errors: list[Exception] = []

    def press(number: int) -> None:
        chance = np.random.default_rng(number)
        try:
            while time.monotonic() < end:
                call = int(chance.integers(len(calls)))
                worst[number] = max(worst[number], largest_difference(session.run(calls[call]), wanted[call]))
                made[number] += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=press, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(30.0, left))
        yield sum(made), max(worst)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    yield sum(made), max(worst)


def soak(graph: Path, kind: str, engine: str, seconds: float, say: Callable[[str], Any] = print) -> list[str]:
    """Press one session; return what was wrong."""
    calls = calls_for(kind)
    session = open_session(engine, graph, threads=2)
    wanted = [session.run(call) for call in calls]
    again = max(largest_difference(session.run(call), one) for call, one in zip(calls, wanted, strict=True))
    say(f"{kind} on {engine}: alone, a second time, the largest difference is {again:.1e}")
    usages, worst, start = [], 0.0, time.monotonic()
    for made, worst in pressed(session, calls, wanted, seconds):
        usages.append(Usage.now())
        say(f"  {time.monotonic() - start:6.0f} s {made:>9,} calls {usages[-1]}; largest difference {worst:.1e}")
    session.close()
    return [*grown(usages), *([f"{kind} on {engine} differs by {worst:.1e} between threads"] if worst > 1e-6 else [])]


def opened(graph: Path, kind: str, engine: str, count: int, say: Callable[[str], Any] = print) -> list[str]:
    """Open and close so many sessions, with a call in each; return what was wrong."""
    call, usages = calls_for(kind)[1], []
    for number in range(count):
        session = open_session(engine, graph, threads=2)
        session.run(call)
        session.close()
        del session
        if number % max(count // 10, 1) == 0 or number == count - 1:
            usages.append(Usage.now())
            say(f"{kind} on {engine}: {number + 1:>4} opened and closed {usages[-1]}")
    return grown(usages)


def grown(usages: list[Usage]) -> list[str]:
    """What grew after a warm-up, the first fifth of the looks."""
    warm, last = usages[len(usages) // 5], usages[-1]
    found = []
    if last.memory - warm.memory > GROWTH:
        found.append(f"memory grew from {warm.memory:.1f} to {last.memory:.1f} MB")
    if last.files > warm.files:
        found.append(f"open files grew from {warm.files} to {last.files}")
    if last.threads > max(usage.threads for usage in usages[: len(usages) // 5 + 1]):
        found.append(f"threads grew from {warm.threads} to {last.threads}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of calls, in all")
    parser.add_argument("--opened", type=int, default=500, help="sessions of each engine")
    given = parser.parse_args()
    from dpr_export.exporter import export
    from tests.conftest import write_checkpoint

    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in SOAKED:
            export(str(write_checkpoint(Path(folder) / f"{kind}-checkpoint", kind)), Path(folder) / kind)
        graphs = {kind: Path(folder) / kind / "onnx" / "model.onnx" for kind in SOAKED}
        seconds = 60 * given.minutes / (len(SOAKED) * len(ENGINES))
        for kind in SOAKED:
            for engine in ENGINES:
                wrong += soak(graphs[kind], kind, engine, seconds)
        for engine in ENGINES:
            wrong += opened(graphs["question"], "question", engine, given.opened)
    print("\n".join(wrong) or "nothing grew, and every result was right")
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
