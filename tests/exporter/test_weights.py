"""The check of weights: models that were never trained pass, and a weight that is damaged in the graph never does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import numpy_helper

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import LoadedCheckpoint, load
from dpr_export.exporter.hub.card import model_card
from dpr_export.exporter.tracing import trace as tracing
from dpr_export.exporter.tracing.weights import REPLACED, UNREAD, ZEROS, check_weights
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.variants import EMBEDS_FILE, MODEL_FILE
from dpr_export.models.kinds import EMBEDS, KINDS
from tests.checkpoints import checkpoint_in
from tests.commands import run_command
from tests.exported import TINY, VOCABULARY

ONE_WIDE = {
    "vocab_size": 4,
    "hidden_size": 1,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "type_vocab_size": 1,
    "max_position_embeddings": 3,
}
SMALL = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12}
READER_BIAS, QUESTION_BIAS, CONTEXT_BIAS = (
    "span_predictor.qa_classifier.bias",
    "question_encoder.encode_proj.bias",
    "ctx_encoder.encode_proj.bias",
)
# The kind, the configuration, and what the graph of a fresh model lacks.
FRESH: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("reader", {}, {READER_BIAS: ZEROS}),
    ("question", {}, {}),
    ("context", {}, {}),
    ("question", {"projection_dim": 8}, {QUESTION_BIAS: ZEROS}),
    ("context", {"projection_dim": 32}, {CONTEXT_BIAS: ZEROS}),
    ("context", {"projection_dim": 1}, {CONTEXT_BIAS: ZEROS}),
    ("reader", {"projection_dim": 8}, {READER_BIAS: ZEROS, **dict.fromkeys(
        ("span_predictor.encoder.encode_proj.weight", "span_predictor.encoder.encode_proj.bias"), UNREAD)}),
    ("question", {"intermediate_size": 1, "hidden_act": "relu"}, {}),
    ("question", ONE_WIDE, {}),
    ("reader", ONE_WIDE, {READER_BIAS: ZEROS}),
    ("context", {**ONE_WIDE, "projection_dim": 1}, {CONTEXT_BIAS: ZEROS}),
    ("question", {**ONE_WIDE, "hidden_size": 2, "projection_dim": 2}, {QUESTION_BIAS: ZEROS}),
]  # fmt: skip


def fresh(kind: str, folder: Path, **config: Any) -> Path:
    """A checkpoint with transformers' initial weights: biases of zeros, LayerNorm's weights of ones."""
    torch.manual_seed(0)
    model = getattr(transformers, KINDS[kind].architecture)(transformers.DPRConfig(**{**TINY, **config}))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY[: config.get("vocab_size", 120)]) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "config", "lacking"),
    [pytest.param(*row, marks=[] if row in (FRESH[0], FRESH[3], FRESH[8]) else pytest.mark.ci) for row in FRESH],
)
def test_a_fresh_model_passes_and_what_its_graph_lacks_is_reported(
    tmp_path: Path, kind: str, config: dict[str, Any], lacking: dict[str, str]
) -> None:
    loaded = load(checkpoint_in(fresh(kind, tmp_path, **{**SMALL, **config}), "fresh"))
    tracing.trace(loaded, tmp_path / "model.onnx", 18)
    assert check_weights(loaded.model, tmp_path / "model.onnx") == lacking


def test_the_manifest_the_report_and_the_card_say_what_the_graph_lacks(tmp_path: Path) -> None:
    source = fresh("reader", tmp_path / "reader", **SMALL)
    manifest = export(str(source), tmp_path / "out", ExportOptions(inputs_embeds=True))
    words = "span_predictor.encoder.bert_model.embeddings.word_embeddings.weight"
    assert manifest.absent_weights == {
        MODEL_FILE: {READER_BIAS: ZEROS},
        EMBEDS_FILE: {words: REPLACED, READER_BIAS: ZEROS},
    }
    assert ExportedFolder.open(tmp_path / "out").manifest == manifest
    line = f"{MODEL_FILE} lacks without effect: {READER_BIAS} ({ZEROS})"
    assert line in run_command("dpr-runtime", "inspect", tmp_path / "out").stdout
    assert f"{line}." in model_card(manifest, "somebody/reader-onnx")


class Traced:
    """A traced model, and its graph to be damaged."""

    def __init__(self, loaded: LoadedCheckpoint, folder: Path, tokens: str = "input_ids") -> None:
        self.loaded, self.tokens = loaded, tokens
        self.path = folder / "model.onnx"
        tracing.trace(loaded, self.path, 18, tokens=tokens)
        self.model = onnx.load(self.path)
        self.absent = check_weights(loaded.model, self.path, tokens)

    def refuses(self, model: onnx.ModelProto) -> bool:
        """Whether the check finds the damage."""
        damaged = self.path.with_name("damaged.onnx")
        onnx.save(model, damaged)
        try:
            check_weights(self.loaded.model, damaged, self.tokens)
        except ExportError as error:
            return "is missing from the graph, or differs" in str(error)
        return False

    def copy(self) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        return copy


@pytest.fixture(scope="module", params=KINDS)
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A fresh model of each kind, with a projection; all its biases are zeros, and share constants in the graph."""
    folder = tmp_path_factory.mktemp(request.param)
    source = fresh(request.param, folder, **SMALL, projection_dim=8)
    return Traced(load(checkpoint_in(source, "fresh")), folder)


def reads(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, int, onnx.TensorProto]]:
    """Each place where a node reads an array of float32: the node, the index of its input, and the constant."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in constants and constants[name].data_type == onnx.TensorProto.FLOAT and constants[name].dims:
                yield node, index, constants[name]


def first_changed(values: np.ndarray) -> np.ndarray:
    values.flat[0] += 1
    return values


def last_changed(values: np.ndarray) -> np.ndarray:
    values.flat[-1] = np.nextafter(values.flat[-1], np.float32(1))
    return values


def with_a_sign_changed(values: np.ndarray) -> np.ndarray:
    values.flat[0] = -values.flat[0]
    return values


@pytest.mark.parametrize("damage", [first_changed, last_changed, with_a_sign_changed, np.zeros_like, np.ones_like])
def test_a_weight_that_is_damaged_where_one_node_reads_it_is_found_whichever_it_is(
    traced: Traced, damage: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Zero to minus zero too; and the other nodes that share the constant still read the right one."""
    places = list(reads(traced.model))
    assert len(places) == len(list(traced.loaded.model.parameters())) - len(traced.absent)
    missed = []
    for number in range(len(places)):
        model = traced.copy()
        node, index, tensor = list(reads(model))[number]
        before = numpy_helper.to_array(tensor)
        after = np.asarray(damage(before.copy()), np.float32)
        if before.tobytes() == after.tobytes():
            continue
        model.graph.initializer.append(numpy_helper.from_array(after, "damaged"))
        node.input[index] = "damaged"
        if not traced.refuses(model):
            missed.append(f"{node.name}[{index}]")
    assert missed == []


def test_a_bias_in_place_of_one_that_was_dropped_is_found_though_it_is_zero_elsewhere(traced: Traced) -> None:
    """The absence of a bias is accepted only where nothing takes its place, not even another weight of the graph."""
    dropped = [node for node in traced.model.graph.node if node.op_type == "Gemm" and len(node.input) == 2]
    assert len(dropped) == sum(reason == ZEROS for reason in traced.absent.values())
    for place, node in enumerate(traced.model.graph.node):
        if node in dropped:
            model = traced.copy()
            width = next(tensor.dims[0] for n, _, tensor in reads(model) if n.name == node.name)
            model.graph.initializer.append(numpy_helper.from_array(np.full(width, 0.5, np.float32), "other"))
            model.graph.node[place].input.append("other")
            assert traced.refuses(model)


def test_a_bias_whose_addition_is_left_out_is_found_unless_it_is_zero(checkpoint, tmp_path: Path) -> None:
    """The graph of a trained model, without each of its biases in turn."""
    found = Traced(load(checkpoint_in(checkpoint("reader", **SMALL), "trained")), tmp_path)
    assert found.absent == {}
    tried = 0
    for number, node in enumerate(found.model.graph.node):
        model = found.copy()
        if node.op_type == "Gemm":
            del model.graph.node[number].input[2:]
        elif node.op_type == "Add" and any(node is each for each, _, _ in reads(found.model)):
            model.graph.node[number].CopyFrom(
                onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name)
            )
        else:
            continue
        tried += 1
        assert found.refuses(model), node.name
    assert tried == 8  # three of attention, its output, two of the feed-forward, two heads


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("width", [1, pytest.param(8, marks=pytest.mark.ci)])
def test_a_bias_of_zeros_of_either_sign_is_dropped_and_one_with_a_number_is_not(
    tmp_path: Path, sign: float, width: int
) -> None:
    loaded = load(checkpoint_in(fresh("question", tmp_path, **SMALL, projection_dim=width), "fresh"))
    bias = loaded.model.question_encoder.encode_proj.bias
    with torch.no_grad():
        bias.fill_(sign * 0.0)
    traced = Traced(loaded, tmp_path)
    assert set(traced.absent) <= {QUESTION_BIAS}
    with torch.no_grad():
        bias[-1] = 1e-45
    assert traced.refuses(traced.model)


@pytest.mark.ci
def test_two_weights_of_one_module_that_are_equal_are_looked_for_twice(tmp_path: Path) -> None:
    """LayerNorm with weights of zeros, whose bias has the same bytes: one of them changed is found."""
    loaded = load(checkpoint_in(fresh("question", tmp_path, **SMALL), "fresh"))
    with torch.no_grad():
        loaded.model.question_encoder.bert_model.embeddings.LayerNorm.weight.zero_()
    traced = Traced(loaded, tmp_path)
    for index in (1, 2):
        model = traced.copy()
        node = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
        model.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), "ones"))
        node.input[index] = "ones"
        assert traced.refuses(model)


def test_a_graph_for_embeddings_lacks_those_of_words_alone(tmp_path: Path) -> None:
    loaded = load(checkpoint_in(fresh("question", tmp_path, **SMALL), "fresh"))
    assert set(Traced(loaded, tmp_path, EMBEDS).absent.values()) == {REPLACED}
    tracing.trace(loaded, tmp_path / "embeds.onnx", 18, tokens=EMBEDS)
    with pytest.raises(ExportError, match=r"the weight .*word_embeddings\.weight is missing from the graph"):
        check_weights(loaded.model, tmp_path / "embeds.onnx")
