"""How each variant is made from `model.onnx`, and what is tried next where the first settings lose too much.

A recipe writes its graph and yields what it did, once for each of its settings, the fastest first. Whoever judges the
result stops at the first that is good enough. Static INT8 has these settings: everything quantized; then, one after
another, the parts that its error comes from left in float32, found by leaving out each alone. Heads always stay in
float32: they cost nothing, and all of the answer goes through them.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from dpr_export.models.artifact.reference_outputs import Arrays
from dpr_export.quantization.passes.fp16 import to_fp16
from dpr_export.quantization.passes.fusion import fuse
from dpr_export.quantization.passes.int8_dynamic import BLOCK, quantize_blockwise_int8, quantize_dynamic_int8
from dpr_export.quantization.passes.int8_static import quantize_static_int8, unquantized
from dpr_export.quantization.passes.parts import HEADS, parts
from dpr_export.quantization.passes.tensorrt import check_for_tensorrt, scales_in_fp16
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import Feeds, open_session

RANGE_CALLS = 24
RANKING_CALLS = 24
MOST_PARTS = 4


@dataclass(frozen=True, slots=True)
class Made:
    """What a recipe did.

    Attributes:
        settings: its settings, in words.
        fused_operators: how many of ONNX Runtime's own operators it fused, by name.
        more: whether other settings follow.
    """

    settings: str = ""
    fused_operators: dict[str, int] = field(default_factory=dict)
    more: bool = False


Settings = Generator[Made, None, None]


def fused(source: Path, output: Path, _: Sequence[Feeds]) -> Settings:
    yield Made("", fuse(source, output))


def fp16(source: Path, output: Path, calls: Sequence[Feeds]) -> Settings:
    made = _to_fp16(source, output, calls)
    check_for_tensorrt(output)
    yield made


def fused_fp16(source: Path, output: Path, calls: Sequence[Feeds]) -> Settings:
    """Everything in fp16, the faster; then, where that loses too much, LayerNorm in float32."""
    with TemporaryDirectory() as folder:
        counts = fuse(source, Path(folder, "fused.onnx"), device="cuda")
        for layer_norm_in_float32 in (False, True):
            made = _to_fp16(Path(folder, "fused.onnx"), output, calls, layer_norm_in_float32)
            yield replace(made, fused_operators=counts, more=not layer_norm_in_float32)


def _to_fp16(source: Path, output: Path, calls: Sequence[Feeds], layer_norm_in_float32: bool = True) -> Made:
    spoiled = to_fp16(source, output, calls[:RANGE_CALLS], layer_norm_in_float32=layer_norm_in_float32)
    in_float32 = ["LayerNorm"] * layer_norm_in_float32
    in_float32 += [f"{len(spoiled)} operators whose values fp16 cannot hold"] if spoiled else []
    return Made(f"{' and '.join(in_float32)} in float32" if in_float32 else "everything in fp16")


def static_int8(source: Path, output: Path, calls: Sequence[Feeds]) -> Settings:
    yield from _static(source, output, calls, linear_alone=False, finish=copyfile)


def tensorrt_int8(source: Path, output: Path, calls: Sequence[Feeds]) -> Settings:
    """INT8 linear layers, and fp16 all around them: TensorRT's fused attention takes products in fp16 alone."""

    def in_half(quantized: Path, output: Path) -> None:
        scales_in_fp16(quantized)
        to_fp16(quantized, output, calls[:RANGE_CALLS])
        check_for_tensorrt(output)

    yield from _static(source, output, calls, linear_alone=True, finish=in_half)


def _static(
    source: Path, output: Path, calls: Sequence[Feeds], *, linear_alone: bool, finish: Callable[[Path, Path], object]
) -> Settings:
    by_part = parts(onnx.load(source, load_external_data=False))
    heads = by_part.pop(HEADS, [])
    rest = "fp16" if linear_alone else "float32"
    with TemporaryDirectory() as folder:
        quantized, without = Path(folder, "quantized.onnx"), Path(folder, "without.onnx")

        def quantize(names: Sequence[str]) -> None:
            quantize_static_int8(source, quantized, calls, in_float=[*heads, *names], linear_alone=linear_alone)
            finish(quantized, output)

        def leave_out(part: str) -> Path:
            unquantized(quantized, without, by_part[part])
            return without

        most = min(MOST_PARTS, len(by_part) - linear_alone)  # something stays quantized, of a small model too
        quantize([])
        yield Made(f"heads in {rest}", more=most > 0)
        ranked = by_error(by_part, leave_out, source, calls[:RANKING_CALLS])
        for count in range(1, most + 1):
            left = ranked[:count]
            quantize([name for part in left for name in by_part[part]])
            yield Made(f"heads and {', '.join(left)} in {rest}", more=count < most)


def dynamic_int8(source: Path, output: Path, _: Sequence[Feeds]) -> Settings:
    """Scales for each tensor, the faster; then, where that loses too much, scales for each block of 128 numbers."""
    with TemporaryDirectory() as folder:
        graph = Path(folder, "fused.onnx")
        counts = fuse(source, graph)
        heads = parts(onnx.load(graph)).get(HEADS, [])
        quantize_dynamic_int8(graph, output, in_float=heads)
        yield Made("a scale for each activation; heads in float32", counts, more=True)
        quantize_blockwise_int8(graph, output, in_float=heads)
        yield Made(f"a scale for each {BLOCK} numbers; heads in float32", counts)


Recipe = Callable[[Path, Path, Sequence[Feeds]], Settings]
RECIPES: dict[str, Recipe] = {
    "fused": fused,
    "fp16": fp16,
    "fused_fp16": fused_fp16,
    "static_int8": static_int8,
    "tensorrt_int8": tensorrt_int8,
    "dynamic_int8": dynamic_int8,
}


def by_error(names: Iterable[str], leave_out: Callable[[str], Path], source: Path, calls: Sequence[Feeds]) -> list[str]:
    """Order parts by how near the graph comes to `source` when one of them alone is left out, the nearest first."""
    expected = _outputs(source, calls)
    errors = {name: relative_error(_outputs(leave_out(name), calls), expected) for name in names}
    return sorted(errors, key=errors.__getitem__)


def _outputs(graph: Path, calls: Sequence[Feeds]) -> list[Arrays]:
    """What a graph computes, on OpenVINO where that is installed, which runs quantized graphs fastest."""
    backend = "openvino" if find_spec("openvino") else "onnxruntime"
    session = open_session(backend, graph, threads=usable_processors())
    try:
        return [session.run(feeds) for feeds in calls]
    finally:
        session.close()


def relative_error(found: Sequence[Arrays], expected: Sequence[Arrays]) -> float:
    """The squared error of each output over its squared size, over all calls, summed over the outputs.

    >>> one = {"a": np.array([3.0, 4.0])}
    >>> relative_error([{"a": np.array([3.0, 3.0])}], [one])
    0.04
    """
    total = 0.0
    for name in expected[0]:
        error = sum(float(np.square(f[name] - e[name]).sum()) for f, e in zip(found, expected, strict=True))
        total += error / sum(float(np.square(e[name]).sum()) for e in expected)
    return total
