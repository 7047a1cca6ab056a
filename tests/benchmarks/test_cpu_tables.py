"""Ratios are of medians, against the fastest of the others; a contender that could not run gives no ratio."""

import io
from typing import Any

import pytest
from rich.console import Console

from benchmarks.cpu_parts import ALL_AT_ONCE, IN_BATCHES, TUNED
from benchmarks.cpu_tables import SHAPE_NAMES, compare, ratio, show
from benchmarks.harness.contenders import BASELINE, CPU_CONTENDERS, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH

ABOUT = {"processor": "a processor", "threads": 2, "python": "3.11", "versions": {}, "load": 0.1, "quick": False}


def records(**by_name: float) -> dict[str, Any]:
    return {name: {"ms": ms} for name, ms in by_name.items()}


def test_a_ratio_is_against_the_fastest_of_the_others() -> None:
    lines = records(ours=2.0, slow=30.0, fast=10.0)
    assert ratio(lines, "ours", ["slow", "fast"]) == 5.0
    assert ratio({**lines, "fast": {"reason": "it crashed"}}, "ours", ["slow", "fast"]) == 15.0
    assert ratio({**lines, "ours": {"reason": "it crashed"}}, "ours", ["slow", "fast"]) is None
    assert ratio(lines, "ours", ["nobody"]) is None


def test_model_calls_are_compared_on_every_shape() -> None:
    times = {mode.name: 100.0 for mode in TORCH} | {BASELINE.name: 1000.0, OURS.name: 100.0}
    times |= {DOCUMENTED.name: 90.0, OURS_ORT.name: 60.0}
    shapes = {line: records(**times) for line in SHAPE_NAMES}
    found = compare({"model-calls": {"question": {"shapes": shapes}}})
    expected = {
        "openvino int8 / transformers fp32": 10,
        "openvino int8 / transformers' fastest": 1,
        "openvino int8 / documented INT8": 0.9,
        "onnxruntime int8 / transformers fp32": 1000 / 60,
        "onnxruntime int8 / transformers' fastest": 100 / 60,
        "onnxruntime int8 / documented INT8": 1.5,
    }
    assert found == {
        (what, "question"): dict.fromkeys((*SHAPE_NAMES, "mean"), pytest.approx(each))
        for what, each in expected.items()
    }


def test_strings_are_compared_with_sentence_transformers_at_its_best() -> None:
    lines = {line: records(**{BASELINE.name: 90.0, STRONGEST.name: 12.0, OURS.name: 10.0}) for line in SHAPE_NAMES}
    lines["1x16"][TUNED] = {"ms": 9.0}
    lines["mixed"] = records(**{BASELINE.name: 120.0, STRONGEST.name: 12.0, TUNED: 11.5, OURS.name: 10.0})
    found = compare({"strings": {"lines": lines}})
    best = found["strings, openvino / sentence-transformers", "context"]
    assert best["1x16"] == 0.9
    assert best["mean"] == pytest.approx((0.9 * 1.2**3) ** 0.25)
    assert best["mixed"] == 1.15
    assert found["strings, openvino / transformers", "context"]["mixed"] == 12
    assert not any("onnxruntime" in what for what, _ in found)


def test_answers_are_compared_with_the_better_of_transformers_ways() -> None:
    lines = {"answer": records(**{ALL_AT_ONCE: 90.0, IN_BATCHES: 70.0, OURS.name: 10.0})}
    assert compare({"answer": {"lines": lines}})["answer, openvino / transformers", "reader"]["answer"] == 7.0


def test_results_of_a_run_that_was_stopped_are_shown() -> None:
    lines = {contender.name: {"ms": 10.0} for contender in CPU_CONTENDERS} | {STRONGEST.name: {"reason": "no network"}}
    console = Console(file=io.StringIO(), width=110)
    calls = {"context": {"shapes": {"1x16": lines}, "cosines": {BASELINE.name: 1.0}}}
    show({"about": ABOUT, "model-calls": calls, "strings": {"tuned_batch_size": 4}}, console)
    shown = console.file.getvalue()
    assert f"- {STRONGEST.name}: no network" in shown
    assert "openvino int8 / transformers fp32         context  1.00" in shown
