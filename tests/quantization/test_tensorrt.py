"""Graphs for TensorRT: what it would refuse is refused by us first, with the reason, and nothing else is."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import QuantizationError
from dpr_export.quantization.passes.parts import HEADS, find_parts
from dpr_export.quantization.passes.tensorrt import check_for_tensorrt, raise_small_scales
from dpr_export.runtime.engines.nvidia import tensorrt
from dpr_export.runtime.engines.nvidia.shape_buckets import buckets_for

OURS = ("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_trt_int8.onnx", "onnx/model_int8.onnx")
Change = Callable[[onnx.ModelProto], None]


def quantizers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def asymmetric(model: onnx.ModelProto) -> None:
    tensor = constant(model, quantizers(model)[0].input[2])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.int8(3), tensor.name))


def unsigned(model: onnx.ModelProto) -> None:
    node = quantizers(model)[0]
    zero = constant(model, node.input[2])
    zero.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(zero), np.uint8), zero.name))
    for other in quantizers(model):
        if other is not node and other.input[0] == node.output[0]:
            other.input[2] = node.input[2]


def without_a_zero_point(model: onnx.ModelProto) -> None:
    node = quantizers(model)[0]
    del node.input[2]
    for other in quantizers(model):
        if other.input[0] == node.output[0]:
            del other.input[2]


def integer_products(model: onnx.ModelProto) -> None:
    """Turn one product of floats into one of integers, which ONNX has and TensorRT has not."""
    node = next(node for node in model.graph.node if node.op_type == "MatMul")
    names = [f"{node.name}/{part}" for part in ("quantized", "scale", "zero", "weights", "product", "float")]
    quantized, _, zero, weights, product, _ = names
    model.graph.initializer.append(numpy_helper.from_array(np.ones((32, 32), np.int8), weights))
    at = list(model.graph.node).index(node)
    new = [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], names[:3], name=f"{node.name}/measure"),
        helper.make_node("MatMulInteger", [quantized, weights, zero], [product], name=f"{node.name}/product"),
        helper.make_node("Cast", [product], [node.output[0]], to=TensorProto.FLOAT, name=f"{node.name}/cast"),
    ]
    nodes = [*model.graph.node[:at], *new, *model.graph.node[at + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


# What is changed in which graph, what we say, and whether TensorRT-RTX refuses it too. Quantizers to uint8, which is
# what one without a zero point is, it takes for quantizers to int8 without a word.
CHANGES: dict[str, tuple[str, Change, str, bool]] = {
    "asymmetric": (OURS[3], asymmetric, r"^TensorRT takes symmetric quantizers, and \S+ has a zero point of 3$", True),
    "unsigned": (OURS[3], unsigned, r"^TensorRT quantizes to int8 alone, and the quantizer \S+ does not$", False),
    "no zero point": (OURS[3], without_a_zero_point, "^TensorRT quantizes to int8 alone, and the quantizer", False),
    "integers": (OURS[0], integer_products, "^TensorRT has no operator DynamicQuantizeLinear, which changed", True),
}


def refused_by_rtx(graph: Path, kind: str) -> bool:
    only_rtx = [library for library in tensorrt.LIBRARIES if library.name == "tensorrt_rtx"]
    with pytest.MonkeyPatch.context() as patch:  # tensorrt, if it is installed too, builds for no other GPU
        patch.setattr(tensorrt, "LIBRARIES", only_rtx)
        rtx = tensorrt.TensorRt()
    try:
        rtx.build(graph, buckets_for(kind, 512, [64])[:1], compute_capability="8.9")
    except RuntimeError:
        return True
    return False


@pytest.mark.parametrize("file", OURS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_tensorrt_takes_is_not_refused(tiny_variants: dict[str, Path], kind: str, file: str) -> None:
    check_for_tensorrt(tiny_variants[kind] / file)


@pytest.mark.parametrize("change", CHANGES)
def test_what_tensorrt_refuses_is_refused_first_with_the_reason(
    tiny_variants: dict[str, Path], tmp_path: Path, change: str
) -> None:
    file, changed, message, refused = CHANGES[change]
    model = onnx.load(tiny_variants["question"] / file)
    changed(model)
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(QuantizationError, match=message):
        check_for_tensorrt(tmp_path / "changed.onnx")
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    assert refused_by_rtx(tmp_path / "changed.onnx", "question") is refused


@pytest.mark.parametrize("file", ["onnx/model_ort.onnx", "onnx/model_ort_fp16.onnx", "onnx/model_ort_int8.onnx"])
def test_graphs_for_onnx_runtime_alone_are_refused_first(tiny_variants: dict[str, Path], file: str) -> None:
    graph = tiny_variants["question"] / file
    has_own_operators = any(node.domain == "com.microsoft" for node in onnx.load(graph).graph.node)
    told = r"has no operator \w+ of com.microsoft, which model_ort" if has_own_operators else "quantizes to int8 alone"
    if file == "onnx/model_ort_int8.onnx":
        told = r"(has no operator \w+ of com.microsoft, which model_ort|quantizes to int8 alone)"
    with pytest.raises(QuantizationError, match=rf"^TensorRT {told}"):
        check_for_tensorrt(graph)
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    assert refused_by_rtx(graph, "question")


@pytest.mark.parametrize("kind", list(KINDS))
def test_linear_layers_are_int8_and_all_else_is_fp16(tiny_variants: dict[str, Path], kind: str) -> None:
    """But for the heads, which stay in fp16 whole, and LayerNorm, which is computed in float32."""
    graph = onnx.load(tiny_variants[kind] / "onnx/model_trt_int8.onnx")
    made_by = {name: node for node in graph.graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.graph.initializer}
    heads = find_parts(onnx.load(tiny_variants[kind] / MODEL_FILE)).get(HEADS, [])
    quantized, floats = 0, 0
    for node in graph.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            sources = [made_by[name].op_type if name in made_by else "constant" for name in node.input[:2]]
            if sources == ["DequantizeLinear"] * 2:
                assert made_by[node.input[1]].input[0] in weights
                assert made_by[made_by[node.input[0]].input[0]].op_type == "QuantizeLinear"
                quantized += 1
            else:
                assert "DequantizeLinear" not in sources
                floats += 1
    layers = DPRConfig.from_pretrained(tiny_variants[kind]).num_hidden_layers
    assert (quantized + floats) == layers * 8 + len(heads)
    assert floats >= layers * 2 + len(heads)
    assert quantized > 0
    for node in quantizers(graph):
        assert constant(graph, node.input[1]).data_type == TensorProto.FLOAT16
        assert constant(graph, node.input[2]).data_type == TensorProto.INT8
    gathered = [node for node in graph.graph.node if node.op_type == "Gather" and node.input[0] in weights]
    assert {constant(graph, node.input[0]).data_type for node in gathered} <= {TensorProto.FLOAT16, TensorProto.INT64}
    assert {entry.version for entry in graph.opset_import} == {19}
    types = Counter(tensor.data_type for tensor in graph.graph.initializer)
    assert types[TensorProto.FLOAT] < types[TensorProto.FLOAT16]


def one_product(scales: np.ndarray, axis: int | None) -> tuple[onnx.ModelProto, np.ndarray]:
    """A graph of one product with quantized weights, and those weights as numbers."""
    weights = np.random.default_rng(0).integers(-127, 128, (8, 4)).astype(np.int8)
    zero = np.zeros(scales.shape, np.int8)
    constants = {"weights": weights, "scale": scales, "zero": zero}
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["numbers"], **attributes),
        helper.make_node("MatMul", ["x", "numbers"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), weights * scales


@pytest.mark.parametrize(
    ("scales", "axis"),
    [
        (np.array([1e-2, 1e-9, 3e-5, 7e-5], np.float32), 1),
        (np.array([1e-2, 1e-9, 3e-5, 7e-5], np.float32), -1),
        (np.array([1e-2, 1e-2, 1.0, 0.5], np.float32), 1),
        (np.float32(2e-5), None),
    ],
)
def test_scales_that_fp16_cannot_hold_become_its_least_and_weights_stay_what_they_were(
    tmp_path: Path, scales: np.ndarray, axis: int | None
) -> None:
    model, numbers = one_product(np.asarray(scales), axis)
    onnx.save(model, tmp_path / "small.onnx")
    raise_small_scales(tmp_path / "small.onnx")
    changed = onnx.load(tmp_path / "small.onnx")
    scale = numpy_helper.to_array(constant(changed, "scale"))
    least = float(np.finfo(np.float16).smallest_normal)
    assert np.array_equal(scale, np.maximum(scales, np.float32(least)))
    assert changed.opset_import[0].version == 19
    found = numpy_helper.to_array(constant(changed, "weights")) * scale
    assert np.abs(found - numbers).max() <= least / 2 + 1e-9
    kept = np.broadcast_to(scales >= least, numbers.shape)
    assert np.array_equal(found[kept], numbers[kept])
