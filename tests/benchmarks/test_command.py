"""Results are kept after each measurement; those of several runs stand in one file, if they are of one machine."""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.harness.command import RESULTS_FOLDER, Run, describe_machine, make_parser, merge, start
from benchmarks.harness.model_files import WorkFolder
from benchmarks.harness.workers import WorkerError


def begin(file: Path, *arguments: str, **options: Any) -> Run:
    parser = make_parser("cpu", "Measure.", "tiny models")
    given = parser.parse_args(["--work", str(file.parent), "--json", str(file), *arguments])
    return start(parser, given, "a minute", lambda *_: None, **options)


def test_every_result_is_in_the_file_when_it_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(tmp_path / "folder" / "cpu.json")
    assert "python -m benchmarks.cpu: a minute" in capsys.readouterr().err
    for number, shape in enumerate(("1x16", "1x128")):
        run.keep({"ours": {"ms": number}}, "model-calls", "question", "shapes", shape, line=f"{shape} {number}")
        held = json.loads((tmp_path / "folder" / "cpu.json").read_text())
        assert held["model-calls"]["question"]["shapes"][shape] == {"ours": {"ms": number}}
        assert capsys.readouterr().out == f"{shape} {number}\n"


def test_kinds_of_later_runs_stand_beside_those_of_earlier_ones() -> None:
    machine, held = describe_machine(False, 2), dict[str, Any]()
    for load, results in (
        (0.5, {"model-calls": {"question": {"shapes": {"1x16": 1, "8x128": 1}}}}),
        (0.1, {"model-calls": {"reader": {"shapes": {"1x16": 2}}}, "limits": {"reader": {}}}),
        (0.2, {"model-calls": {"question": {"shapes": {"1x16": 3}}}}),
    ):
        held = merge(held, {"about": {**machine, "load": load}, **results})
    assert held["model-calls"] == {"question": {"shapes": {"1x16": 3}}, "reader": {"shapes": {"1x16": 2}}}
    assert held["limits"] == {"reader": {}}
    assert held["about"]["load"] == 0.5


def test_results_of_another_machine_are_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps({"about": {**describe_machine(False, 1), "processor": "another"}}))
    before = file.read_text()
    with pytest.raises(SystemExit):
        begin(file)
    assert "cpu.json is of another machine, or of other versions: remove it first" in capsys.readouterr().err
    assert file.read_text() == before


@pytest.mark.parametrize("name", ["accuracy", "corpus", "cpu", "gpu", "memory"])
def test_the_saved_results_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    saved = json.loads((RESULTS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    import_module(f"benchmarks.{'cpu_tables' if name == 'cpu' else name}").show(saved, Console(width=110))
    assert "torch 2." in capsys.readouterr().out


def test_a_run_is_over_when_its_time_has_passed(tmp_path: Path) -> None:
    assert not begin(tmp_path / "cpu.json").is_over
    assert not begin(tmp_path / "cpu.json", seconds=1000.0).is_over
    assert begin(tmp_path / "cpu.json", seconds=1e-9).is_over


def test_the_time_to_make_models_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(work: WorkFolder, kind: str, what: str, say: Callable[[str], None]) -> Path:
        say("make it")
        time.sleep(0.3)
        return work.model(kind, what)

    monkeypatch.setattr("benchmarks.harness.command.make", make)
    run = begin(tmp_path / "cpu.json", seconds=0.2)
    assert run.make_model("question", "bert") == tmp_path / "base" / "question" / "bert"
    assert not run.is_over
    time.sleep(0.3)
    assert run.is_over


def test_a_model_that_cannot_be_made_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def make(work: WorkFolder, kind: str, what: str, say: Callable[[str], None]) -> Path:
        del kind, say
        tried.append(what)
        if what == "bert":
            raise WorkerError("no space left")
        return work.path

    monkeypatch.setattr("benchmarks.harness.command.make", make)
    run = begin(tmp_path / "cpu.json")
    for needs in (("checkpoint", "bert", "ctranslate2"), ("checkpoint", "bert")):
        with pytest.raises(WorkerError, match="no space left"):
            run.make_model("question", *needs)
    assert tried == ["checkpoint", "bert", "checkpoint"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "-1"], "--budget is -1.0, and must be at least 0"),
        (["--quick", "--save"], "--save keeps measurements, and --quick makes none"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import cpu

    monkeypatch.setattr(sys, "argv", ["benchmarks.cpu", *arguments])
    with pytest.raises(SystemExit) as ended:
        cpu.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
