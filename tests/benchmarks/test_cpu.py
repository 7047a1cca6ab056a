"""Results of several runs stand in one file, if they are of one machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contenders import BASELINE, OURS
from benchmarks.cpu import save
from benchmarks.place import SHAPES, shape_name
from benchmarks.results import about


def calls(ms: float) -> dict[str, Any]:
    records = {BASELINE.name: {"ms": 100.0}, OURS.name: {"ms": ms}}
    return {"shapes": {shape_name(shape): records for shape in SHAPES}}


def test_kinds_of_later_runs_stand_beside_those_of_earlier_ones(tmp_path: Path) -> None:
    file, machine = tmp_path / "folder" / "cpu.json", about(False, 2)
    save({"about": {**machine, "load": 0.5}, "model-calls": {"question": calls(10.0)}}, file)
    save({"about": {**machine, "load": 0.1}, "model-calls": {"reader": calls(5.0)}, "limits": {"reader": {}}}, file)
    save({"about": {**machine, "load": 0.2}, "model-calls": {"question": calls(20.0)}}, file)
    held = json.loads(file.read_text())
    assert held["model-calls"] == {"question": calls(20.0), "reader": calls(5.0)}
    assert held["limits"] == {"reader": {}}
    assert held["about"]["load"] == 0.5
    ratios = {(bar["kind"], bar["ratio"]) for bar in held["bars"] if bar["what"] == "openvino int8 / transformers fp32"}
    assert ratios == {("question", 5.0), ("reader", 20.0)}


def test_results_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    file, machine = tmp_path / "cpu.json", about(False, 2)
    save({"about": machine, "model-calls": {"question": calls(10.0)}}, file)
    before = file.read_text()
    with pytest.raises(ValueError, match=r"cpu\.json is of another machine, or of other versions: remove it first"):
        save({"about": {**machine, "processor": "another"}, "model-calls": {"reader": calls(10.0)}}, file)
    assert file.read_text() == before
