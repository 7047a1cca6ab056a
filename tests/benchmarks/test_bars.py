"""The benchmark's verdicts: the ratio is of medians, against the fastest of those named, and a gap is no success."""

from typing import Any

import pytest

from benchmarks.bars import ANSWER, STRINGS_MEAN, TORCH_FP32, Bar, bars, ratio
from benchmarks.contenders import BASELINE, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH
from benchmarks.parts import ALL_AT_ONCE, IN_BATCHES, TUNED
from benchmarks.place import SHAPES, shape_name

LINES = [shape_name(shape) for shape in SHAPES]


def records(**by_name: float) -> dict[str, Any]:
    return {name: {"ms": ms} for name, ms in by_name.items()}


def one(found: list[Bar], what: str, line: str) -> Bar:
    (bar,) = (bar for bar in found if (bar.what, bar.line) == (what, line))
    return bar


def test_a_ratio_is_against_the_fastest_of_the_others() -> None:
    lines = records(ours=2.0, slow=30.0, fast=10.0)
    assert ratio(lines, "ours", ["slow", "fast"]) == 5.0
    assert ratio({**lines, "fast": {"reason": "it crashed"}}, "ours", ["slow", "fast"]) == 15.0
    assert ratio({**lines, "ours": {"reason": "it crashed"}}, "ours", ["slow", "fast"]) is None
    assert ratio(lines, "ours", ["nobody"]) is None


@pytest.mark.parametrize(("found", "kept"), [(7.99, False), (8.0, True), (None, False)])
def test_a_bar_is_kept_from_its_number_on(found: float | None, kept: bool) -> None:
    assert Bar("answer", "answer", "reader", 8.0, found).kept is kept


def test_every_bar_of_model_calls_is_checked() -> None:
    times = {mode.name: 100.0 for mode in TORCH} | {BASELINE.name: 1000.0, OURS.name: 100.0}
    times |= {DOCUMENTED.name: 90.0, OURS_ORT.name: 60.0}
    shapes = {line: records(**times) for line in LINES}
    found = bars({"model-calls": {"question": {"shapes": shapes}}})
    assert len(found) == 3 * len(SHAPES)
    for line in LINES:
        assert one(found, "openvino int8 / transformers fp32", line).ratio == 10
        assert one(found, "openvino int8 / transformers fp32", line).kept is (TORCH_FP32[line] <= 10)
        assert one(found, "openvino int8 / torch's best mode", line).ratio == 1
        assert one(found, "onnxruntime int8 / the documented INT8", line).ratio == 1.5


def test_strings_are_compared_with_the_peer_at_its_best() -> None:
    lines = {line: records(**{BASELINE.name: 90.0, STRONGEST.name: 12.0, OURS.name: 10.0}) for line in LINES}
    lines["1x16"][TUNED] = {"ms": 9.0}
    lines["mixed"] = records(**{BASELINE.name: 120.0, STRONGEST.name: 12.0, TUNED: 11.5, OURS.name: 10.0})
    found = bars({"strings": {"lines": lines}})
    assert one(found, "strings / the strongest peer", "1x16").ratio == 0.9
    assert not one(found, "strings / the strongest peer", "1x16").kept
    assert one(found, "strings / the strongest peer", "mean").ratio == pytest.approx((0.9 * 1.2**3) ** 0.25)
    assert one(found, "strings / the strongest peer", "mean").bar == STRINGS_MEAN
    assert one(found, "strings / the strongest peer", "mixed").ratio == 1.15
    assert one(found, "strings / transformers", "mixed").ratio == 12


def test_answers_are_compared_with_the_better_of_the_originals_ways() -> None:
    lines = {"answer": records(**{ALL_AT_ONCE: 90.0, IN_BATCHES: 70.0, OURS.name: 10.0})}
    (bar,) = bars({"answer": {"lines": lines}})
    assert (bar.ratio, bar.bar, bar.kept) == (7.0, ANSWER, False)
