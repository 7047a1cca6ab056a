"""Recipes: make each variant from `model.onnx`, with several settings where the fastest may not be accurate enough.

A recipe is a generator. It writes its graph and yields an `Attempt` for each of its settings, the fastest first. The
caller judges the graph, and stops at the first that reaches every bound.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from dpr_export.models.artifact.graph_files import copy_graph
from dpr_export.models.artifact.reference_outputs import Arrays
from dpr_export.quantization.passes.fp16 import to_fp16
from dpr_export.quantization.passes.fusion import fuse
from dpr_export.quantization.passes.int8_dynamic import BLOCK, quantize_blockwise_int8, quantize_dynamic_int8
from dpr_export.quantization.passes.int8_static import quantize_static_int8, remove_quantizers
from dpr_export.quantization.passes.parts import HEADS, find_parts
from dpr_export.quantization.passes.tensorrt import check_for_tensorrt, raise_small_scales
from dpr_export.runtime.checks.variant_parity import open_graph
from dpr_export.runtime.engines.session import Feeds

RANGE_CALLS = 24
RANKING_CALLS = 24
MOST_PARTS = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """A graph that a recipe has written."""

    settings: str = ""  # in words
    fused_operators: dict[str, int] = field(default_factory=dict)  # how many of ONNX Runtime's own, by name
    has_more: bool = False  # whether the recipe has more settings to try


Attempts = Generator[Attempt, None, None]


def make_fused(source: Path, output: Path, _: Sequence[Feeds]) -> Attempts:
    yield Attempt("", fuse(source, output))


def make_fp16(source: Path, output: Path, calls: Sequence[Feeds]) -> Attempts:
    made = _to_fp16(source, output, calls)
    check_for_tensorrt(output)
    yield made


def make_fused_fp16(source: Path, output: Path, calls: Sequence[Feeds]) -> Attempts:
    """First everything in fp16, which is faster; then LayerNorm in float32."""
    with TemporaryDirectory() as folder:
        counts = fuse(source, Path(folder, "fused.onnx"), device="cuda")
        for layer_norm_in_float32 in (False, True):
            made = _to_fp16(Path(folder, "fused.onnx"), output, calls, layer_norm_in_float32)
            yield replace(made, fused_operators=counts, has_more=not layer_norm_in_float32)


def _to_fp16(source: Path, output: Path, calls: Sequence[Feeds], layer_norm_in_float32: bool = True) -> Attempt:
    spoiled = to_fp16(source, output, calls[:RANGE_CALLS], layer_norm_in_float32=layer_norm_in_float32)
    in_float32 = ["LayerNorm"] * layer_norm_in_float32
    in_float32 += [f"{len(spoiled)} operators whose values fp16 cannot hold"] if spoiled else []
    return Attempt(f"{' and '.join(in_float32)} in float32" if in_float32 else "everything in fp16")


def make_static_int8(source: Path, output: Path, calls: Sequence[Feeds], for_tensorrt: bool = False) -> Attempts:
    """First everything in INT8 but the heads, which cost nothing, and through which the whole answer passes.

    Each further attempt leaves one more part in float32, those first whose leaving out reduces the error most. For
    TensorRT, only linear layers are in INT8, and the rest is in fp16, since its fused attention takes only fp16.
    """
    by_part = find_parts(onnx.load(source, load_external_data=False))
    heads = by_part.pop(HEADS, [])
    rest = "fp16" if for_tensorrt else "float32"
    with TemporaryDirectory() as folder:
        quantized, without = Path(folder, output.name), Path(folder, "without.onnx")

        def quantize(parts: Sequence[str]) -> None:
            in_float = [*heads, *(name for part in parts for name in by_part[part])]
            quantize_static_int8(source, quantized, calls, in_float=in_float, linear_only=for_tensorrt)
            if not for_tensorrt:
                copy_graph(quantized, output.parent)
                return
            raise_small_scales(quantized)
            to_fp16(quantized, output, calls[:RANGE_CALLS])
            check_for_tensorrt(output)

        def leave_out(part: str) -> Path:
            remove_quantizers(quantized, without, by_part[part])
            return without

        most = min(MOST_PARTS, len(by_part) - for_tensorrt)  # a small model too keeps a quantized part
        quantize([])
        yield Attempt(f"heads in {rest}", has_more=most > 0)
        ranked = rank_parts(by_part, leave_out, source, calls[:RANKING_CALLS])
        for count in range(1, most + 1):
            quantize(ranked[:count])
            yield Attempt(f"heads and {', '.join(ranked[:count])} in {rest}", has_more=count < most)


def make_dynamic_int8(source: Path, output: Path, _: Sequence[Feeds]) -> Attempts:
    """First one scale for each activation, which is faster; then one for each block of 128 numbers."""
    with TemporaryDirectory() as folder:
        graph = Path(folder, "fused.onnx")
        counts = fuse(source, graph)
        heads = find_parts(onnx.load(graph, load_external_data=False)).get(HEADS, [])
        quantize_dynamic_int8(graph, output, in_float=heads)
        yield Attempt("a scale for each activation; heads in float32", counts, has_more=True)
        quantize_blockwise_int8(graph, output, in_float=heads)
        yield Attempt(f"a scale for each {BLOCK} numbers; heads in float32", counts)


Recipe = Callable[[Path, Path, Sequence[Feeds]], Attempts]
RECIPES: dict[str, Recipe] = {
    "fused": make_fused,
    "fp16": make_fp16,
    "fused_fp16": make_fused_fp16,
    "static_int8": make_static_int8,
    "tensorrt_int8": partial(make_static_int8, for_tensorrt=True),
    "dynamic_int8": make_dynamic_int8,
}


def rank_parts(
    names: Iterable[str], leave_out: Callable[[str], Path], source: Path, calls: Sequence[Feeds]
) -> list[str]:
    """Sort parts by the error of the graph in which that part alone is left out, the smallest error first."""
    expected = _run_calls(source, calls)
    errors = {name: sum_relative_squared_errors(_run_calls(leave_out(name), calls), expected) for name in names}
    return sorted(errors, key=errors.__getitem__)


def _run_calls(graph: Path, calls: Sequence[Feeds]) -> list[Arrays]:
    """Run a graph on OpenVINO, which runs quantized graphs fastest; if it is not installed, on ONNX Runtime."""
    backend = "openvino" if find_spec("openvino") else "onnxruntime"
    with open_graph(backend, graph) as session:
        return [session.run(feeds) for feeds in calls]


def sum_relative_squared_errors(found: Sequence[Arrays], expected: Sequence[Arrays]) -> float:
    """Sum, over the outputs, sum((found - expected)²) / sum(expected²) over all calls.

    >>> one = {"a": np.array([3.0, 4.0])}
    >>> sum_relative_squared_errors([{"a": np.array([3.0, 3.0])}], [one])
    0.04
    """
    total = 0.0
    for name in expected[0]:
        error = sum(float(np.square(f[name] - e[name]).sum()) for f, e in zip(found, expected, strict=True))
        total += error / sum(float(np.square(e[name]).sum()) for e in expected)
    return total
