"""The graph computes what transformers computes, for every kind and configuration; others are never written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.tracing import trace as tracing
from dpr_export.exporter.tracing.reference_outputs import run_pytorch
from dpr_export.exporter.tracing.weights import check_weights
from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.session import open_session
from tests.checkpoints import checkpoint_in

BOUND = 1e-4
CONFIGURATIONS = [
    ("question", {}),
    ("context", {}),
    ("reader", {}),
    ("question", {"projection_dim": 24}),
    pytest.param("context", {"projection_dim": 8}, marks=pytest.mark.ci),
    ("question", {"hidden_act": "relu"}),
    pytest.param("context", {"hidden_act": "silu"}, marks=pytest.mark.ci),
    ("reader", {"hidden_act": "gelu_new"}),
    pytest.param("question", {"num_hidden_layers": 1, "num_attention_heads": 1}, marks=pytest.mark.ci),
    ("reader", {"max_position_embeddings": 6, "type_vocab_size": 1, "pad_token_id": 3}),
]


@pytest.mark.parametrize(("kind", "config"), CONFIGURATIONS)
def test_a_graph_gives_what_transformers_gives_at_sizes_and_masks_it_was_not_traced_at(
    checkpoint, tmp_path: Path, kind: str, config: dict
) -> None:
    source = checkpoint(kind, **config)
    manifest = export(str(source), tmp_path / "out")
    assert manifest.variants[0].parity.largest_error < BOUND
    loaded = getattr(transformers, KINDS[kind].architecture).from_pretrained(source, attn_implementation="eager")
    session = open_session("onnxruntime", tmp_path / "out" / MODEL_FILE, device="cpu", threads=1)
    generator = np.random.default_rng(5)
    positions = loaded.config.max_position_embeddings
    for batch, length in ((1, 2), (2, 1), (5, 33), (4, 200), (2, 512)):
        length = min(length, positions)
        feeds = {
            "input_ids": generator.integers(0, 120, (batch, length)),
            "attention_mask": generator.integers(0, 2, (batch, length)),
            "token_type_ids": generator.integers(0, loaded.config.type_vocab_size, (batch, length)),
        }
        feeds["attention_mask"][0] = 0
        feeds = {name: feeds[name] for name in KINDS[kind].inputs}
        with torch.no_grad():
            expected = loaded(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        found = session.run(feeds)
        for name in KINDS[kind].outputs:
            np.testing.assert_allclose(found[name], expected[name].numpy(), atol=1e-5, rtol=1e-5)


def _change_a_weight(model: onnx.ModelProto) -> None:
    """Change one matrix, of the first layer's feed-forward, by one part in a hundred."""
    weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [32, 64])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


def _ignore_the_mask(model: onnx.ModelProto) -> None:
    """Multiply the additive mask by zero."""
    least = float(np.finfo(np.float32).min)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size == 1 and values.item() == least:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(values), tensor.name))
            return
    raise AssertionError("the graph has no mask constant")


def _mask_by_the_ids(model: onnx.ModelProto) -> None:
    """Read `input_ids != 0` wherever the mask was read."""
    for node in model.graph.node:
        node.input[:] = ["mask_of_ids" if name == "attention_mask" else name for name in node.input]
    zero = numpy_helper.from_array(np.array(0), "no_id")
    model.graph.initializer.append(zero)
    made = [
        onnx.helper.make_node("Equal", ["input_ids", "no_id"], ["is_padding"]),
        onnx.helper.make_node("Not", ["is_padding"], ["is_no_padding"]),
        onnx.helper.make_node("Cast", ["is_no_padding"], ["mask_of_ids"], to=onnx.TensorProto.INT64),
    ]
    nodes = [*made, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _forget_a_word(model: onnx.ModelProto) -> None:
    """Zero the embedding of one word that no example holds."""
    weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [120, 32])
    values = numpy_helper.to_array(weight).copy()
    values[101] = 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def _swap_the_activation(model: onnx.ModelProto) -> None:
    """Use the tanh approximation of GELU: x -> 0.5 x (1 + erf(x / 1.4142135)) with another constant."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size == 1 and values.dtype == np.float32 and abs(values.item() - 2**0.5) < 1e-3:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, 1.42), tensor.name))
            return
    raise AssertionError("the graph has no GELU")


def _answer_in_float64(model: onnx.ModelProto) -> None:
    """Give the first output another type."""
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["single" if name == output.name else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Cast", ["single"], [output.name], to=onnx.TensorProto.DOUBLE))
    output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def _rename_an_output(model: onnx.ModelProto) -> None:
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["renamed" if output == name else output for output in node.output]
    model.graph.output[0].name = "renamed"


def _fix_an_axis(model: onnx.ModelProto) -> None:
    """Fix the length at the traced one."""
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[1].ClearField("dim_param")
        value.type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "damage",
    [
        _change_a_weight,
        _ignore_the_mask,
        _mask_by_the_ids,
        _forget_a_word,
        _swap_the_activation,
        _answer_in_float64,
        _rename_an_output,
        _fix_an_axis,
    ],
)
def test_a_graph_that_was_broken_is_not_verified_and_leaves_no_folder(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, damage: Callable[[onnx.ModelProto], None]
) -> None:
    trace = tracing.trace

    def broken(loaded: object, path: Path, *how: Any) -> None:
        trace(loaded, path, *how)
        model = onnx.load(path)
        damage(model)
        onnx.save(model, path)

    monkeypatch.setattr("dpr_export.exporter.tracing.trace.trace", broken)
    source = checkpoint(kind)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ExportError, match="parity check failed"):
        export(str(source), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_grid_finds_a_broken_graph_without_the_check_of_weights(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two checks are independent: outputs are compared also where weights are not."""
    trace = tracing.trace
    monkeypatch.setattr("dpr_export.exporter.tracing.weights.check_weights", lambda *_: {})
    other = load(checkpoint_in(checkpoint("question", "other"), "other"))
    monkeypatch.setattr("dpr_export.exporter.tracing.trace.trace", lambda _, *how: trace(other, *how))
    with pytest.raises(ExportError, match="parity check failed: pooler_output at 1 x 1 differs from the reference by"):
        export(str(checkpoint("question", seed=1)), tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_that_no_example_reads_is_missed_by_name(checkpoint, tmp_path: Path, kind: str) -> None:
    """The check of weights alone: a real vocabulary has far more words than the grid has places."""
    loaded = load(checkpoint_in(checkpoint(kind), "tiny"))
    tracing.trace(loaded, tmp_path / "sound.onnx", 18)
    check_weights(loaded.model, tmp_path / "sound.onnx")
    model = onnx.load(tmp_path / "sound.onnx")
    _forget_a_word(model)
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(ExportError, match=r"the weight .*word_embeddings\.weight is missing from the graph"):
        check_weights(loaded.model, tmp_path / "broken.onnx")


def test_every_position_is_compared_and_so_are_more_than_512(checkpoint, tmp_path: Path) -> None:
    manifest = export(str(checkpoint("question", max_position_embeddings=700)), tmp_path / "out")
    assert manifest.variants[0].parity.shapes[1] == (1, 700)


def test_outputs_that_are_not_finite_in_pytorch_are_refused(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("reader")
    weights = load_file(folder / "model.safetensors")
    weights["span_predictor.qa_outputs.bias"][0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="start_logits is not finite in PyTorch"):
        export(str(folder), tmp_path / "out")


@pytest.mark.ci
def test_a_configuration_that_returns_tuples_is_exported(checkpoint, tmp_path: Path) -> None:
    assert export(str(checkpoint("reader", return_dict=False)), tmp_path / "out").kind == "reader"


def test_every_row_of_the_grid_has_its_own_padding(checkpoint) -> None:
    loaded = load(checkpoint_in(checkpoint("question"), "tiny"))
    mask = next(call.feeds["attention_mask"] for call in run_pytorch(loaded) if call.shape == (8, 128))
    assert mask[0].all()
    assert not mask[1].any()
    ids = next(call.feeds["input_ids"] for call in run_pytorch(loaded) if call.shape == (8, 128))
    assert ((ids == 0) & (mask == 1)).any()
    assert ((ids != 0) & (mask == 0)).any()
    middle = mask[2].tolist()
    assert 0 in middle[: middle.index(1) + len(middle) // 2]
    assert middle[-1] == 0
    assert len({tuple(row) for row in mask.tolist()}) == 8


@pytest.mark.parametrize("opset", [18, pytest.param(20, marks=pytest.mark.ci), 23])
def test_each_operator_set_that_is_offered_is_verified(checkpoint, tmp_path: Path, opset: int) -> None:
    manifest = export(str(checkpoint("reader")), tmp_path / "out", ExportOptions(opset=opset))
    assert manifest.opset == opset
    assert {item.domain: item.version for item in onnx.load(tmp_path / "out" / MODEL_FILE).opset_import}[""] == opset


def test_the_last_layer_of_an_encoder_computes_one_row(tiny) -> None:
    """The feed-forward of the last layer sees (batch, 1, hidden) where the others see (batch, sequence, hidden)."""
    model = onnx.shape_inference.infer_shapes(onnx.load(tiny["question"] / MODEL_FILE))
    lengths = [
        value.type.tensor_type.shape.dim[1].dim_param or value.type.tensor_type.shape.dim[1].dim_value
        for node in model.graph.node
        if node.op_type == "Erf"
        for value in model.graph.value_info
        if value.name == node.output[0]
    ]
    assert lengths == ["sequence_length", 1]


def test_the_graph_holds_standard_operators_only(tiny) -> None:
    for folder in tiny.values():
        assert {node.domain for node in onnx.load(folder / MODEL_FILE).graph.node} == {""}


def test_the_axes_of_inputs_and_outputs_are_named(tiny) -> None:
    def axes(value: onnx.ValueInfoProto) -> list[str | int]:
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    graph = onnx.load(tiny["reader"] / MODEL_FILE).graph
    both = ["batch_size", "sequence_length"]
    assert {value.name: axes(value) for value in graph.input} == {"input_ids": both, "attention_mask": both}
    assert {value.name: axes(value) for value in graph.output} == {
        "start_logits": both,
        "end_logits": both,
        "relevance_logits": ["batch_size"],
    }


def test_a_readers_projection_which_nothing_reads_stops_no_export(checkpoint, tmp_path: Path) -> None:
    assert export(str(checkpoint("reader", projection_dim=32)), tmp_path / "out").variants


def test_a_checkpoint_that_was_never_trained_is_exported(checkpoint, tmp_path: Path) -> None:
    """Its biases are zero, and the tracer drops the addition of a single zero."""
    folder = checkpoint("reader")
    weights = load_file(folder / "model.safetensors")
    zeroed = {name: tensor * 0 if name.endswith("bias") else tensor for name, tensor in weights.items()}
    save_file(zeroed, folder / "model.safetensors", metadata={"format": "pt"})
    assert export(str(folder), tmp_path / "out").variants[0].parity.share_of_tolerance < 1
