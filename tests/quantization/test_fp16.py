"""fp16 in true half precision: finite and near float32, where activations pass its end, and where all is masked.

ONNX Runtime computes fp16 graphs in float32 on a CPU, so it would not notice an overflow. ONNX's reference evaluator
is numpy: it computes float16 as float16.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import QuantizationError, fuse, read_texts, to_fp16, tokenize_each
from dpr_export.quantization.passes import fp16
from dpr_export.quantization.texts import CALIBRATION_SET_FILE
from dpr_export.runtime.checks.parity import make_grid
from dpr_export.runtime.engines.session import Feeds, Outputs, open_session

HIDDEN, WEIGHT = 40.0, 2000.0


def feeds(kind: str, folder: Path) -> Feeds:
    """Rows of 24: one full, one all masked, one masked in its middle and at its end."""
    (call,) = make_grid(KINDS[kind], DPRConfig.from_pretrained(folder), shapes=((3, 24),))
    assert call["attention_mask"].sum(axis=1).tolist()[:2] == [24, 0]
    return call


def calls(kind: str, folder: Path) -> list[Feeds]:
    return tokenize_each(KINDS[kind], folder, read_texts(CALIBRATION_SET_FILE).rows[:8])


def in_float16(graph: Path, given: Feeds) -> Outputs:
    model = onnx_ir.load(graph)
    model.graph.sort()  # the evaluator takes nodes in the order in which they stand
    evaluator = ReferenceEvaluator(onnx_ir.to_proto(model))
    with np.errstate(all="ignore"):
        found = evaluator.run(None, given)
    return dict(zip(evaluator.output_names, found, strict=True))


def in_float32(graph: Path, given: Feeds) -> Outputs:
    session = open_session("onnxruntime", graph, threads=1)
    try:
        return session.run(given)
    finally:
        session.close()


def scale(model: onnx.ModelProto, name: str, factor: float) -> None:
    """Multiply the weight that the node `name` reads second, in place."""
    node = next(node for node in model.graph.node if node.name.endswith(name))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def with_large_activations(source: Path, output: Path, layer: int = 0) -> Path:
    """Let one layer's feed-forward pass fp16's end on its way, and come back: its output is what it was, roughly."""
    model = onnx.load(source)
    place = f"encoder.layer.{layer}."
    scale(model, f"{place}attention.output.LayerNorm/LayerNormalization", HIDDEN)
    scale(model, f"{place}intermediate.dense/MatMul", WEIGHT)
    scale(model, f"{place}output.dense/MatMul", 1 / WEIGHT)
    onnx.save(model, output)
    return output


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near_float32_in_every_row(tiny: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """Also in the row that is all masked: a score that is added to the mask is lost, as in float32."""
    source = tiny[kind] / MODEL_FILE
    assert to_fp16(source, tmp_path / "fp16.onnx", calls(kind, tiny[kind])) == ()
    given = feeds(kind, tiny[kind])
    found, expected = in_float16(tmp_path / "fp16.onnx", given), in_float32(source, given)
    for name in KINDS[kind].outputs:
        assert found[name].dtype == np.float32
        assert 0 < np.abs(found[name] - expected[name]).max() < 0.02 * np.abs(expected[name]).max()


@pytest.mark.parametrize("kind", KINDS)
def test_activations_beyond_the_end_stay_in_float32(tiny: dict[str, Path], tmp_path: Path, kind: str) -> None:
    source = with_large_activations(tiny[kind] / MODEL_FILE, tmp_path / "large.onnx")
    large = to_fp16(source, tmp_path / "fp16.onnx", calls(kind, tiny[kind]))
    assert {name.split("encoder.layer.")[-1] for name in large} >= {
        "0.intermediate.dense/MatMul",
        "0.intermediate.dense/Add",
        "0.intermediate.intermediate_act_fn/Mul_2",
        "0.output.dense/MatMul",
    }
    assert all("layer.0." in name for name in large)
    given = feeds(kind, tiny[kind])
    found, expected = in_float16(tmp_path / "fp16.onnx", given), in_float32(source, given)
    for name in KINDS[kind].outputs:
        assert np.isfinite(expected[name]).all()
        assert np.abs(found[name] - expected[name]).max() < 0.02 * np.abs(expected[name]).max()


def test_without_the_measurement_they_overflow(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    source = with_large_activations(tiny["question"] / MODEL_FILE, tmp_path / "large.onnx")
    monkeypatch.setattr(fp16, "find_float32_nodes", lambda *_: ())
    assert to_fp16(source, tmp_path / "fp16.onnx", calls("question", tiny["question"])) == ()
    given = feeds("question", tiny["question"])
    assert not np.isfinite(in_float16(tmp_path / "fp16.onnx", given)["pooler_output"]).all()


def test_with_a_weaker_mask_the_row_that_is_all_masked_is_another(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So can the first."""
    monkeypatch.setattr(fp16, "MASK", -100.0)
    to_fp16(tiny["question"] / MODEL_FILE, tmp_path / "fp16.onnx", calls("question", tiny["question"]))
    given = feeds("question", tiny["question"])
    found = in_float16(tmp_path / "fp16.onnx", given)["pooler_output"]
    expected = in_float32(tiny["question"] / MODEL_FILE, given)["pooler_output"]
    wrong = np.abs(found - expected).max(axis=1) > 0.02 * np.abs(expected).max()
    assert wrong.tolist() == [False, True, False]


def test_what_comes_within_a_factor_of_four_of_the_end_is_measured_as_large(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    model = onnx.load(with_large_activations(tiny["question"] / MODEL_FILE, tmp_path / "large.onnx", layer=1))
    given = calls("question", tiny["question"])
    name = next(n for n in model.graph.node if n.name.endswith("layer.1.intermediate.dense/Add")).output[0]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(onnx.ValueInfoProto(name=name))
    onnx.save(watched, tmp_path / "watched.onnx")
    most = max(np.abs(in_float32(tmp_path / "watched.onnx", call)[name]).max() for call in given)
    for share, large in ((1.05, True), (0.95, False)):  # of a quarter of the end
        wanted = onnx.ModelProto()
        wanted.CopyFrom(model)
        factor = share * fp16.LARGEST / 4 / float(most)
        scale(wanted, "layer.1.intermediate.dense/MatMul", factor)
        scale(wanted, "layer.1.intermediate.dense/Add", factor)
        found = any("layer.1.intermediate.dense/Add" in node for node in fp16.find_float32_nodes(wanted, given))
        assert found is large


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_the_graph_is_valid_onnx_and_is_loaded(tiny: dict[str, Path], tmp_path: Path, fused: bool, large: bool) -> None:
    """Sorted, as ONNX wants it, and no name made twice."""
    source = tiny["reader"] / MODEL_FILE
    if large:
        source = with_large_activations(source, tmp_path / "large.onnx")
    if fused:
        fuse(source, tmp_path / "fused.onnx")
        source = tmp_path / "fused.onnx"
    assert bool(to_fp16(source, tmp_path / "fp16.onnx", calls("reader", tiny["reader"]))) is large
    onnx.checker.check_model(onnx.load(tmp_path / "fp16.onnx"))
    found = in_float32(tmp_path / "fp16.onnx", feeds("reader", tiny["reader"]))
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("value", [70_000.0, -70_000.0, float("inf")])
def test_a_weight_that_half_precision_cannot_hold_is_refused(
    tiny: dict[str, Path], tmp_path: Path, value: float
) -> None:
    model = onnx.load(tiny["question"] / MODEL_FILE)
    weight = next(t for t in model.graph.initializer if t.name.endswith("layer.1.intermediate.dense.bias"))
    values = numpy_helper.to_array(weight).copy()
    values[3] = value
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(
        QuantizationError, match=r"the weight .*layer\.1\.intermediate\.dense\.bias holds .*, and fp16 ends at 65,504"
    ):
        to_fp16(tmp_path / "source.onnx", tmp_path / "fp16.onnx", calls("question", tiny["question"]))
    assert not (tmp_path / "fp16.onnx").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused", [False, True])
def test_inputs_outputs_and_layer_norms_keep_their_types_and_the_rest_is_half(
    tiny: dict[str, Path], tmp_path: Path, kind: str, fused: bool
) -> None:
    source = tiny[kind] / MODEL_FILE
    if fused:
        fuse(source, tmp_path / "fused.onnx")
        source = tmp_path / "fused.onnx"
    to_fp16(source, tmp_path / "fp16.onnx", calls(kind, tiny[kind]))
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    outputs = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    assert inputs == dict.fromkeys(KINDS[kind].inputs, TensorProto.INT64)
    assert outputs == dict.fromkeys(KINDS[kind].outputs, TensorProto.FLOAT)
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {node.output[0]: node.attribute[0].i for node in graph.node if node.op_type == "Cast"}
    norms = [node for node in graph.node if node.op_type in ("LayerNormalization", "SkipLayerNormalization")]
    assert len(norms) == 5
    for norm in norms:
        assert all(types.get(name) == TensorProto.FLOAT for name in norm.input if name), norm.name
        types |= dict.fromkeys(norm.output, TensorProto.FLOAT)  # as what it reads
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    weights = [types[name] for node in products for name in node.input if name in types]
    assert len(weights) >= 12
    assert set(weights) == {TensorProto.FLOAT16}
