"""Each part keeps its results line by line, with every contender; no line begins once the time is over."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cpu_parts
from benchmarks.cpu_parts import PARTS, QUICK, TUNED
from benchmarks.harness.command import Run, make_parser, start
from benchmarks.harness.contenders import BASELINE, OURS, OURS_ORT, STRONGEST, Contender
from benchmarks.harness.tables import SHAPES, shape_name
from benchmarks.harness.worker_group import WorkerGroup
from benchmarks.harness.workers import Request, WorkerError

LINES = [shape_name(shape) for shape in SHAPES]


class FakeWorker:
    """Answers as a worker does; the baseline's calls take a second, the others' half of one."""

    def __init__(self, name: str) -> None:
        self.seconds = 1.0 if name == BASELINE.name else 0.5
        self.jobs: list[Request] = []

    def ask(self, verb: str, timeout: float | None = None, calls: int = 1, **job: Any) -> Request:
        if verb == "time":
            return {"seconds": [self.seconds] * calls}
        assert timeout
        self.jobs.append(job)
        return {"seconds": self.seconds, "row": [1.0, 2.0]} if job.get("warm_up", True) else {}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeWorker]:
    made: dict[str, FakeWorker] = {}

    @contextmanager
    def load_group(run: Run, kind: str, contenders: Mapping[str, Contender]) -> Iterator[WorkerGroup]:
        del run, kind
        made.update({name: FakeWorker(name) for name in contenders})
        yield WorkerGroup(made, dict.fromkeys(made, "an engine"))  # type: ignore[arg-type]

    def tokenize(text: str | list[str], **_: Any) -> dict[str, Any]:
        texts = [text] if isinstance(text, str) else text
        rows = [[1, *(2 for _ in each.split()), 3] for each in texts]
        return {"input_ids": rows[0] if isinstance(text, str) else rows}

    monkeypatch.setattr(cpu_parts, "load_group", load_group)
    monkeypatch.setattr(cpu_parts.DPRContextEncoderTokenizer, "from_pretrained", lambda _: tokenize)
    monkeypatch.setattr("benchmarks.harness.worker_group._PAUSE", 0.0)
    return made


def begin(work: Path, seconds: float | None = None) -> Run:
    parser = make_parser("cpu", "Measure.", "tiny models")
    return start(parser, parser.parse_args(["--quick", "--work", str(work)]), "a minute", seconds=seconds)


def test_model_calls_have_every_shape(tmp_path: Path, workers: dict[str, FakeWorker]) -> None:
    run = begin(tmp_path)
    PARTS["model-calls"](run, QUICK)
    found = run.results["model-calls"]["context"]
    assert list(found["shapes"]) == LINES
    assert found["cosines"][OURS.name] == pytest.approx(1.0)
    assert found["shapes"]["8x128"][OURS.name]["ms"] == 500.0
    assert [len(job["feeds"]["input_ids"]) for job in workers[OURS.name].jobs] == [1, 1, 8, 16]


def test_strings_have_every_shape_and_the_passages(tmp_path: Path, workers: dict[str, FakeWorker]) -> None:
    run = begin(tmp_path)
    PARTS["strings"](run, QUICK)
    found = run.results["strings"]
    assert list(found["lines"]) == [*LINES, "mixed"]
    assert list(found["lines"]["mixed"]) == [BASELINE.name, STRONGEST.name, TUNED, OURS_ORT.name, OURS.name]
    assert found["passages"]["count"] == QUICK.passages
    texts = [job["texts"] for job in workers[OURS.name].jobs]
    assert [len(each) for each in texts] == [1, 1, 8, 16, 8, QUICK.passages]
    assert {len(text.split()) + 2 for text in texts[2]} == {128}


def test_a_question_is_answered_from_many_passages(tmp_path: Path, workers: dict[str, FakeWorker]) -> None:
    run = begin(tmp_path)
    PARTS["answer"](run, QUICK)
    assert set(run.results["answer"]["lines"]["answer"]) == set(workers)
    assert [len(job["texts"]) for job in workers[OURS.name].jobs] == [QUICK.answer_passages] * 2


def test_limits_that_cannot_be_measured_leave_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any) -> Path:
        raise WorkerError("checkpoint could not be made: no space left")

    monkeypatch.setattr("benchmarks.harness.command.make", make)
    run = begin(tmp_path)
    PARTS["limits"](run, QUICK)
    assert run.results["limits"] == {"context": {"reason": "checkpoint could not be made: no space left"}}


@pytest.mark.usefixtures("workers")
def test_no_line_begins_once_the_time_is_over(tmp_path: Path) -> None:
    run = begin(tmp_path, seconds=1e-9)
    PARTS["model-calls"](run, QUICK)
    PARTS["strings"](run, QUICK)
    assert "model-calls" not in run.results
    assert "lines" not in run.results["strings"]
