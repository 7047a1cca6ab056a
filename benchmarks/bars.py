"""The bars: how much faster than what each variant has to be, and whether the results of a run keep it.

A bar on shapes is checked on every kind of model, and the mean over shapes is the geometric one. A ratio is another
contender's median over ours: above 1 is faster.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from benchmarks.contenders import BASELINE, DOCUMENTED, OURS, OURS_ORT, STRONGEST, TORCH
from benchmarks.parts import ALL_AT_ONCE, IN_BATCHES, TUNED
from benchmarks.place import SHAPES, shape_name
from dpr_export.models.kinds import CONTEXT, READER

Results = Mapping[str, Any]
Lines = Mapping[str, Any]  # contender's name: its record
Wanted = tuple[tuple[str, str, str], float, float | None]  # (what, line, kind), bar, ratio
TORCH_FP32 = {"1x16": 11.0, "1x128": 8.0, "8x128": 9.0, "16x256": 8.0}
TORCH_BEST = 2.0
ORT_BATCH_1, ORT_BATCHED = 1.25, 1.03
STRINGS_LEAST, STRINGS_MEAN = 1.0, 1.04
MIXED_PEER, MIXED_TRANSFORMERS = 1.1, 10.0
ANSWER = 8.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and what was measured.

    Attributes:
        what: who against whom.
        line: the shape, or the line of the results that is meant.
        kind: the kind of model.
        bar: how many times faster it has to be.
        ratio: how many times faster it was; None where one of the two could not run.
    """

    what: str
    line: str
    kind: str
    bar: float
    ratio: float | None

    @property
    def kept(self) -> bool:
        return self.ratio is not None and self.ratio >= self.bar


def ratio(lines: Lines, ours: str, others: Iterable[str]) -> float | None:
    """How many times faster ours is than the fastest of others; None where either was not measured."""
    times = [lines[name]["ms"] for name in others if "ms" in lines.get(name, {})]
    return min(times) / lines[ours]["ms"] if times and "ms" in lines.get(ours, {}) else None


def bars(results: Results) -> list[Bar]:
    """The bars of the parts that were run."""
    parts = {"model-calls": _model_calls, "strings": _strings, "answer": _answer}
    wanted = [one for part, of_part in parts.items() if part in results for one in of_part(results[part])]
    return [Bar(*where, bar, found) for where, bar, found in wanted]


def _model_calls(kinds: Mapping[str, Any]) -> Iterator[Wanted]:
    torch = [contender.name for contender in TORCH]
    torch_best = dict.fromkeys(TORCH_FP32, TORCH_BEST)
    ort = {shape_name(shape): ORT_BATCH_1 if shape[0] == 1 else ORT_BATCHED for shape in SHAPES}
    for what, ours, others, by_line in (
        ("openvino int8 / transformers fp32", OURS, [BASELINE.name], TORCH_FP32),
        ("openvino int8 / torch's best mode", OURS, torch, torch_best),
        ("onnxruntime int8 / the documented INT8", OURS_ORT, [DOCUMENTED.name], ort),
    ):
        for line, bar in by_line.items():
            for kind, result in kinds.items():
                yield (what, line, kind), bar, ratio(result["shapes"][line], ours.name, others)


def _strings(part: Results) -> Iterator[Wanted]:
    lines = dict(part["lines"])
    mixed = lines.pop("mixed")
    peer, what = (STRONGEST.name, TUNED), "strings / the strongest peer"
    found = {line: ratio(records, OURS.name, peer) for line, records in lines.items()}
    for line, one in found.items():
        yield (what, line, CONTEXT.name), STRINGS_LEAST, one
    measured = [one for one in found.values() if one is not None]
    yield (what, "mean", CONTEXT.name), STRINGS_MEAN, geometric_mean(measured) if measured else None
    yield (what, "mixed", CONTEXT.name), MIXED_PEER, ratio(mixed, OURS.name, peer)
    yield (
        ("strings / transformers", "mixed", CONTEXT.name),
        MIXED_TRANSFORMERS,
        ratio(mixed, OURS.name, [BASELINE.name]),
    )


def _answer(part: Results) -> Iterator[Wanted]:
    others = [ALL_AT_ONCE, IN_BATCHES]
    yield ("answer / transformers", "answer", READER.name), ANSWER, ratio(part["lines"]["answer"], OURS.name, others)
