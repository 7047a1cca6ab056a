"""The fp16 graph for ONNX Runtime on CUDA: LayerNorm in fp16, without casts; in float32 where accuracy needs it.

No GPU is needed: ONNX's reference evaluator computes float16 as float16, and this file gives it ONNX Runtime's
operators as CUDA computes them: sums of inputs in fp16, statistics and softmax in float32, results in fp16.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.manifest import MANIFEST_FILE, AccuracyDrop
from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import VariantOptions, add_variants, fuse, read_texts, to_fp16, tokenize_each
from dpr_export.quantization.gate import cosine
from dpr_export.quantization.passes import fp16
from dpr_export.quantization.texts import CALIBRATION_SET_FILE
from dpr_export.runtime.engines.session import Feeds, Outputs, open_session

FILE = "onnx/model_ort_fp16.onnx"
OUTLIER, OFFSET = 6000.0, 9000.0


class SkipLayerNormalization(OpRun):
    op_domain = "com.microsoft"
    statistics = np.float32

    def _run(self, inputs, residual, weight, bias, inputs_bias=None, epsilon=None):
        total = inputs + inputs_bias + residual
        values = total.astype(self.statistics)
        mean = values.mean(axis=-1, keepdims=True, dtype=self.statistics)
        variance = np.square(values - mean).mean(axis=-1, keepdims=True, dtype=self.statistics)
        normal = (values - mean) / np.sqrt(variance + self.statistics(epsilon))
        return ((normal * weight + bias).astype(inputs.dtype),)


class SumsInFp16(SkipLayerNormalization):
    """The kernel of ONNX Runtime before 1.27."""

    statistics = np.float16


SumsInFp16.__name__ = "SkipLayerNormalization"  # the evaluator goes by the class's name


class MultiHeadAttention(OpRun):
    op_domain = "com.microsoft"

    def _run(self, query, key, value, bias=None, _padding=None, mask=None, num_heads=None, **_):
        parts = []
        biases = np.split(bias, 3) if bias is not None else (0, 0, 0)
        for part, added in zip((query, key, value), biases, strict=True):
            rows = part + np.asarray(added, part.dtype)
            parts.append(rows.reshape(*rows.shape[:2], num_heads, -1).swapaxes(1, 2).astype(np.float32))
        scores = parts[0] @ parts[1].swapaxes(2, 3) / np.sqrt(parts[0].shape[-1]) + mask.astype(np.float32)
        mixed = torch.softmax(torch.from_numpy(scores), -1).numpy() @ parts[2]
        return (mixed.swapaxes(1, 2).reshape(query.shape).astype(query.dtype),)


class BiasGelu(OpRun):
    op_domain = "com.microsoft"

    def _run(self, inputs, bias):
        total = torch.from_numpy((inputs + bias).astype(np.float32))
        return (torch.nn.functional.gelu(total).numpy().astype(inputs.dtype),)


def compute_as_cuda(graph: Path, feeds: Feeds, layer_norm: type[OpRun] = SkipLayerNormalization) -> Outputs:
    evaluator = ReferenceEvaluator(onnx.load(graph), new_ops=[layer_norm, MultiHeadAttention, BiasGelu])
    with np.errstate(all="ignore"):
        return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


def run_float32(graph: Path, feeds: Feeds) -> Outputs:
    session = open_session("onnxruntime", graph, threads=1)
    try:
        return session.run(feeds)
    finally:
        session.close()


def cosine_of_all(found: Outputs, expected: Outputs) -> float:
    one, other = (
        np.concatenate([array.ravel() for _, array in sorted(outputs.items())]) for outputs in (found, expected)
    )
    return float(cosine(one[None], other[None])[0])


def count_operators(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(graph).graph.node)


def change_layer_norms(folder: Path, change: Callable[[np.ndarray, np.ndarray], None]) -> Path:
    """Change, in `model.onnx`, the bias before each LayerNorm but the first, and that LayerNorm's weight."""
    model = onnx.load(folder / MODEL_FILE)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, tensor in tensors.items():
        if name.endswith(".output.dense.bias"):
            weight = tensors[name.replace("dense.bias", "LayerNorm.weight")]
            arrays = [numpy_helper.to_array(each).copy() for each in (tensor, weight)]
            change(*arrays)
            for each, array in zip((tensor, weight), arrays, strict=True):
                each.CopyFrom(numpy_helper.from_array(array, each.name))
    onnx.save(model, folder / MODEL_FILE)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][MODEL_FILE] = asdict(hash_file(folder / MODEL_FILE))
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def put_outliers(bias: np.ndarray, weight: np.ndarray) -> None:
    """Two activations of each token become thousands; the weight brings the others back to their size."""
    bias[[3, 5]] += (OUTLIER, -OUTLIER)
    weight *= OUTLIER / len(bias) ** 0.5
    weight[[3, 5]] = 0.2


def put_offset(bias: np.ndarray, _: np.ndarray) -> None:
    """Every activation moves by thousands. LayerNorm takes that away again; in fp16 its rounding stays."""
    bias += OFFSET


def calls(kind: str, folder: Path, count: int = 4) -> list[Feeds]:
    return tokenize_each(KINDS[kind], folder, read_texts(CALIBRATION_SET_FILE).rows[:count])


def add_fp16(folder: Path) -> AccuracyDrop:
    add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))
    (drop,) = (v.accuracy_drop for v in ExportedFolder.open(folder, verify=True).manifest.variants if v.accuracy_drop)
    return drop


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer_norm_in_float32", [False, True])
def test_the_fused_graph_has_no_cast_that_it_can_do_without(
    tiny: dict[str, Path], tmp_path: Path, kind: str, layer_norm_in_float32: bool
) -> None:
    """One cast for the mask and one an output; with LayerNorm in float32, two more for each LayerNorm."""
    fuse(tiny[kind] / MODEL_FILE, tmp_path / "fused.onnx", device="cuda")
    source, output = tmp_path / "fused.onnx", tmp_path / "fp16.onnx"
    to_fp16(source, output, calls(kind, tiny[kind]), layer_norm_in_float32=layer_norm_in_float32)
    counts = count_operators(output)
    assert (counts["SkipLayerNormalization"], counts["LayerNormalization"]) == (4, 1)
    assert counts["Cast"] <= 1 + len(KINDS[kind].outputs) + (2 * 5 + 1 if layer_norm_in_float32 else 0)
    graph = onnx.load(output).graph
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert [name for node in graph.node for name in node.output if name not in read] == []
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = {
        types[name] for node in graph.node if "LayerNorm" in node.op_type for name in node.input if name in types
    }
    assert weights == {onnx.TensorProto.FLOAT if layer_norm_in_float32 else onnx.TensorProto.FLOAT16}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", KINDS)
def test_activations_of_thousands_are_finite_and_within_the_bounds_with_layer_norm_in_fp16(
    plain: Callable[..., Path], kind: str
) -> None:
    folder = change_layer_norms(plain(kind), put_outliers)
    drop = add_fp16(folder)
    assert drop.settings == "everything in fp16"
    assert drop.below_bound == (), drop.metrics
    for feeds in calls(kind, folder):
        expected = run_float32(folder / MODEL_FILE, feeds)
        assert cosine_of_all(compute_as_cuda(folder / FILE, feeds), expected) > 0.99
        assert not cosine_of_all(compute_as_cuda(folder / FILE, feeds, SumsInFp16), expected) > 0.9


@pytest.mark.usefixtures("quick")
def test_a_layer_norm_that_takes_a_large_mean_away_stays_in_float32(plain: Callable[..., Path], tmp_path: Path) -> None:
    folder = change_layer_norms(plain(), put_offset)
    assert add_fp16(folder).settings == "4 operators whose values fp16 cannot hold in float32"
    fuse(folder / MODEL_FILE, tmp_path / "fused.onnx", device="cuda")
    (feeds,) = calls("question", folder, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fp16, "MAX_OFFSET", float("inf"))
        assert to_fp16(tmp_path / "fused.onnx", tmp_path / "half.onnx", [feeds], layer_norm_in_float32=False) == ()
    expected = run_float32(folder / MODEL_FILE, feeds)
    assert cosine_of_all(compute_as_cuda(folder / FILE, feeds), expected) > 0.999
    assert not cosine_of_all(compute_as_cuda(tmp_path / "half.onnx", feeds), expected) > 0.9


@pytest.mark.usefixtures("quick")
def test_the_gate_lets_no_layer_norm_in_fp16_pass_that_is_below_a_bound(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next setting of the recipe, LayerNorm in float32, is taken then."""
    monkeypatch.setattr(fp16, "MAX_OFFSET", float("inf"))
    folder = change_layer_norms(plain(), put_offset)
    drop = add_fp16(folder)
    assert (drop.settings, drop.below_bound) == ("LayerNorm in float32", ())
