"""Workers are timed in turns, and one that fails or hangs leaves a reason in place of its times."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.worker_group import LEAST_ROUNDS, WorkerGroup
from benchmarks.harness.workers import Worker, WorkerError

CODE = """
import time
from benchmarks.harness.workers import serve
def load(request):
    if request.get("fail"):
        raise ValueError("no such model")
    return "an engine", lambda job: lambda: time.sleep(job["seconds"])
serve(load)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker([sys.executable, "-c", CODE], tmp_path / "log", {})
    yield worker
    worker.close()


def test_a_worker_times_its_own_calls(worker: Worker) -> None:
    assert worker.ask("load")["engine"] == "an engine"
    worker.ask("prepare", seconds=0.01, warm_up=False)
    assert all(seconds >= 0.01 for seconds in worker.ask("time", calls=3)["seconds"])


def test_a_worker_reports_its_error(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="ValueError: no such model"):
        worker.ask("load", fail=True)


def test_a_worker_that_takes_too_long_is_stopped(worker: Worker) -> None:
    worker.ask("load")
    worker.ask("prepare", seconds=60, warm_up=False)
    with pytest.raises(WorkerError, match=r"stopped: its time request took more than 0 s"):
        worker.ask("time", timeout=0.2, calls=1)


def make_group(asked: list[tuple[str, int]]) -> WorkerGroup:
    class Answering:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, verb: str, calls: int) -> dict[str, list[float]]:
            assert verb == "time"
            asked.append((self.name, calls))
            return {"seconds": [0.001 * (1 + len(asked))] * calls}

    workers = {name: Answering(name) for name in ("one", "two")}
    return WorkerGroup(workers, reasons={"gone": "it ended"})  # type: ignore[arg-type]


def test_each_round_begins_with_the_next_contender() -> None:
    asked: list[tuple[str, int]] = []
    times = make_group(asked).time_calls(["one", "two", "gone"], 3, calls=2)
    assert [name for name, _ in asked] == ["one", "two", "two", "one", "one", "two"]
    assert {name: len(seconds) for name, seconds in times.items()} == {"one": 6, "two": 6, "gone": 0}


def test_no_round_begins_after_the_time_of_a_line_but_the_least_are_made() -> None:
    asked: list[tuple[str, int]] = []
    make_group(asked).time_calls(["one"], 10, seconds=0.0)
    assert len(asked) == LEAST_ROUNDS
