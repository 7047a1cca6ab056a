"""Each pass gives the graph it promises: fused as counted, near what it came from, and with its mask."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import (
    Gate,
    QuantizationError,
    fuse,
    quantize_dynamic_int8,
    quantize_static_int8,
    read_texts,
    tokenize_each,
)
from dpr_export.quantization.passes.int8_static import check_symmetric
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE
from dpr_export.runtime.engines.session import Feeds, open_session


def feeds(kind: str, seed: int = 0) -> Feeds:
    """Three rows: one full, one padded at its end, one all padding."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, 80, (3, 24))
    mask = np.ones_like(ids)
    mask[1, 9:] = 0
    mask[2] = 0
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: values[name] for name in KINDS[kind].inputs}


def outputs(graph: Path, given: Feeds) -> dict[str, np.ndarray]:
    session = open_session("onnxruntime", graph, device="cpu", threads=1)
    try:
        return session.run(given)
    finally:
        session.close()


def fuse_and_quantize(source: Path, output: Path) -> None:
    fused = output.with_name("fused.onnx")
    fuse(source, fused)
    quantize_dynamic_int8(fused, output)


@pytest.mark.parametrize(
    ("device", "operators"),
    [
        ("cpu", {"MultiHeadAttention": 2, "Gelu": 2}),
        ("cuda", {"MultiHeadAttention": 2, "BiasGelu": 2, "SkipLayerNormalization": 4}),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_graph_has_one_attention_a_layer_and_gives_the_same(
    tiny: dict[str, Path], tmp_path: Path, kind: str, device: str, operators: dict[str, int]
) -> None:
    assert fuse(tiny[kind] / MODEL_FILE, tmp_path / "fused.onnx", device=device) == operators
    found, expected = outputs(tmp_path / "fused.onnx", feeds(kind)), outputs(tiny[kind] / MODEL_FILE, feeds(kind))
    for name in KINDS[kind].outputs:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_a_graph_whose_attention_has_another_shape_is_not_called_fused(tiny: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(tiny["question"] / MODEL_FILE)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.attribute[0].i = 2
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(QuantizationError, match=r"odd\.onnx has 2 layers, but 1 attentions were fused"):
        fuse(tmp_path / "odd.onnx", tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dynamic_int8_graph_multiplies_integers_and_stays_near(
    tiny: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    fuse(tiny[kind] / MODEL_FILE, tmp_path / "fused.onnx")
    quantize_dynamic_int8(tmp_path / "fused.onnx", tmp_path / "int8.onnx")
    weights = [numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer]
    quantized = [array.astype(int) for array in weights if array.dtype == np.int8 and array.ndim == 2]
    assert quantized
    assert max(np.abs(array).max() for array in quantized) == 64  # 7 bits: two products of 8 bits saturate in 16
    nodes = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert nodes.count("MatMulInteger") >= 2 * 6
    assert nodes.count("MultiHeadAttention") == 2
    assert "QAttention" not in nodes
    found, expected = outputs(tmp_path / "int8.onnx", feeds(kind)), outputs(tiny[kind] / MODEL_FILE, feeds(kind))
    for name in KINDS[kind].outputs:
        error = np.abs(found[name] - expected[name]).max()
        assert 0 < error < 0.25 * np.abs(expected[name]).max()


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [fuse, fuse_and_quantize])
def test_the_mask_changes_what_it_changes_in_the_graph_it_came_from(
    demo: dict[str, Path], tmp_path: Path, kind: str, make: Callable[[Path, Path], object]
) -> None:
    """A graph that drops the mask changes nothing; one that misreads it changes something else."""
    make(demo[kind] / MODEL_FILE, tmp_path / "made.onnx")
    masked, unmasked = feeds(kind), feeds(kind)
    unmasked["attention_mask"] = np.ones_like(unmasked["attention_mask"])
    first = KINDS[kind].outputs[0]
    rows = slice(1, 3)

    def change(graph: Path) -> np.ndarray:
        return (outputs(graph, masked)[first][rows] - outputs(graph, unmasked)[first][rows]).ravel()

    found, expected = change(tmp_path / "made.onnx"), change(demo[kind] / MODEL_FILE)
    assert np.linalg.norm(expected) > 1e-3
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.3)


@pytest.mark.ci
def test_a_static_int8_graph_is_symmetric_and_gives_nearly_the_same_whatever_stands_beside(
    demo: dict[str, Path], tmp_path: Path
) -> None:
    kind, folder = KINDS["question"], demo["question"]
    calibration, judging = read_texts(CALIBRATION_SET_FILE).rows[:24], read_texts(EVALUATION_SET_FILE).rows[:24]
    graph = tmp_path / "int8.onnx"
    assert quantize_static_int8(folder / MODEL_FILE, graph, tokenize_each(kind, folder, calibration)) >= 6 * 6
    assert graph.stat().st_size < 0.3 * (folder / MODEL_FILE).stat().st_size
    assert {node.domain for node in onnx.load(graph).graph.node} == {""}
    reference = open_session("onnxruntime", folder / MODEL_FILE, device="cpu", threads=1)
    variant = open_session("openvino", graph, device="cpu", threads=1)
    metrics = Gate(kind, folder, reference, judging).judge(variant)
    assert 0.97 < metrics["mean_cosine"] < 0.9999
    assert metrics["least_cosine"] > 0.93
    assert metrics["least_cosine_alone"] > 0.999
    variant.close()
    reference.close()


def test_a_graph_with_a_zero_point_is_not_called_symmetric() -> None:
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], name="q")],
            "graph",
            [],
            [],
            [
                onnx.numpy_helper.from_array(np.float32(0.1), "scale"),
                onnx.numpy_helper.from_array(np.int8(3), "zero"),
            ],
        )
    )
    with pytest.raises(QuantizationError, match="the quantizer q is not symmetric"):
        check_symmetric(model)
