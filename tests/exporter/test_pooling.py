"""What an encoder makes of its hidden states: the pooling, the projection, and then the normalization.

The formulas are written out here in float64; one test compares with sentence-transformers' own modules.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import LoadedCheckpoint, load
from dpr_export.exporter.checkpoint.model import build_model
from dpr_export.exporter.tracing import trace as tracing
from dpr_export.exporter.tracing.modules import graph_module
from dpr_export.exporter.tracing.weights import check_weights
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.variants import BACKENDS, MODEL_FILE, PRECISIONS
from dpr_export.models.config import POOLINGS, DPRConfig
from dpr_export.models.kinds import CONTEXT, KINDS, QUESTION, READER
from dpr_export.models.optional_outputs import NO_OPTIONAL_OUTPUTS, OptionalOutputs
from dpr_export.quantization import VariantOptions, add_variants
from dpr_export.quantization.passes.fp16 import to_fp16
from dpr_export.quantization.passes.fusion import fuse
from dpr_export.quantization.passes.int8_static import quantize_static_int8
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.checks.pack import pack
from dpr_export.runtime.checks.parity import SHAPES, make_grid
from dpr_export.runtime.checks.verify import verify
from dpr_export.runtime.engines.session import Feeds
from tests.checkpoints import checkpoint_in
from tests.exported import TINY, Exported, quick_gate, write_checkpoint

SMALL = {**TINY, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24}
WAYS = [(pooling, normalize, width) for pooling in POOLINGS for normalize in (False, True) for width in (0, 8)]


def small_model(seed: int = 0, kind: str = "question", **config: Any) -> LoadedCheckpoint:
    """A model with random weights, its biases and LayerNorms too."""
    configuration = DPRConfig(**{**SMALL, **config})
    torch.manual_seed(seed)
    model = build_model(KINDS[kind], configuration)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return LoadedCheckpoint(KINDS[kind], configuration, model)


def pooled_checkpoint(folder: Path, pooling: str, normalize: bool = False, projection_dim: int = 0) -> Path:
    """A checkpoint of sentence-transformers on the disk, or with "pooler" of transformers' BertModel."""
    write_checkpoint(folder, "question")
    weights = {
        name.removeprefix("question_encoder.bert_model."): weight
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    width = TINY["hidden_size"]
    if pooling == "pooler":
        weights |= {"pooler.dense.weight": torch.randn(width, width) * 0.2, "pooler.dense.bias": torch.randn(width)}
    else:
        modules = ["Transformer", "Pooling", *["Dense"] * (projection_dim > 0), *["Normalize"] * normalize]
        paths = ["", *(f"{number}_{name}" for number, name in enumerate(modules) if number)]
        types = [f"sentence_transformers.models.{name}" for name in modules]
        listed = [{"type": kind, "path": path} for kind, path in zip(types, paths, strict=True)]
        write_json(folder / "modules.json", listed)
        write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": pooling})
    if projection_dim:
        linear = {"out_features": projection_dim, "activation_function": "torch.nn.modules.linear.Identity"}
        write_json(folder / "2_Dense" / "config.json", linear)
        values = {"linear.weight": torch.randn(projection_dim, width), "linear.bias": torch.randn(projection_dim)}
        save_file(values, folder / "2_Dense" / "model.safetensors")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "model_type": "bert", "architectures": ["BertModel"]})
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def pooled_options(pooling: str) -> ExportOptions:
    return ExportOptions(kind="question", pooling=pooling)


def hidden_states(loaded: LoadedCheckpoint, feeds: Feeds) -> NDArray[np.float64]:
    """The last hidden states of transformers' BERT."""
    bert: Any = loaded.model.base_model
    with torch.no_grad():
        found = bert.bert_model(**{name: torch.from_numpy(array) for name, array in feeds.items()})[0]
    return np.asarray(found.numpy(), np.float64)


def expected_vectors(loaded: LoadedCheckpoint, feeds: Feeds) -> NDArray[np.float64]:
    """The vectors by the formulas."""
    weights = {
        name.partition(".")[2]: value.double().numpy() for name, value in loaded.model.state_dict().items()
    }  # fmt: skip
    vectors = []
    for rows, mask in zip(hidden_states(loaded, feeds), feeds["attention_mask"], strict=True):
        vector = rows[0]
        if loaded.config.pooling == "pooler":
            vector = np.tanh(weights["pooler.dense.weight"] @ vector + weights["pooler.dense.bias"])
        elif loaded.config.pooling == "mean":
            vector = rows[mask == 1].mean(axis=0) if mask.any() else np.zeros(len(vector))
        if loaded.config.projection_dim:
            vector = weights["encode_proj.weight"] @ vector + weights["encode_proj.bias"]
        length = float(np.sqrt((vector**2).sum()))
        vectors.append(vector / length if loaded.config.normalize and length else vector)
    return np.array(vectors)


def run(module: Any, feeds: Feeds, **options: Any) -> Any:
    with torch.no_grad():
        return module(**{name: torch.from_numpy(array) for name, array in feeds.items()}, **options)


@pytest.mark.parametrize(("pooling", "normalize", "width"), WAYS)
def test_the_model_and_the_traced_module_compute_the_formula(pooling: str, normalize: bool, width: int) -> None:
    """Padding on the right and in the middle, rows that are masked altogether, one token, and the longest row."""
    for kind, shapes in ((QUESTION, SHAPES), (CONTEXT, [(3, 7)])):
        loaded = small_model(kind=kind.name, pooling=pooling, normalize=normalize, projection_dim=width)
        module = graph_module(loaded.model, NO_OPTIONAL_OUTPUTS)
        for feeds in make_grid(kind, loaded.config, shapes):
            expected = expected_vectors(loaded, feeds)
            found = run(loaded.model, feeds).pooler_output.numpy()
            assert found.shape == (len(expected), width or SMALL["hidden_size"])
            assert found == pytest.approx(expected, abs=2e-5)
            with torch.no_grad():
                (traced,) = module(*map(torch.from_numpy, feeds.values()))
            assert traced.numpy() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_hidden_states_and_attentions_are_transformers_own(pooling: str) -> None:
    loaded = small_model(pooling=pooling, normalize=True, num_hidden_layers=2)
    for feeds in make_grid(QUESTION, loaded.config, [(3, 7)]):
        found = run(loaded.model, feeds, output_hidden_states=True, output_attentions=True)
        assert [tuple(state.shape) for state in found.hidden_states] == [(3, 7, 16)] * 3
        assert [tuple(each.shape) for each in found.attentions] == [(3, 4, 7, 7)] * 2
        assert found.hidden_states[-1].numpy() == pytest.approx(hidden_states(loaded, feeds), abs=1e-6)
        values = run(loaded.model, feeds, return_dict=False, output_hidden_states=True, output_attentions=True)
        assert torch.equal(values[0], found.pooler_output)
        assert [len(each) for each in values[1:]] == [3, 2]
        whole = graph_module(loaded.model, OptionalOutputs(True, True))
        with torch.no_grad():
            outputs = whole(*map(torch.from_numpy, feeds.values()))
        for ours, theirs in zip(outputs, (found.pooler_output, *found.hidden_states, *found.attentions), strict=True):
            assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-5)


def test_the_mean_and_the_normalization_are_those_of_sentence_transformers() -> None:
    modules = pytest.importorskip("sentence_transformers.models")
    loaded = small_model(pooling="mean", normalize=True, projection_dim=8)
    dense = modules.Dense(16, 8, activation_function=torch.nn.Identity())
    dense.linear = loaded.model.base_model.encode_proj
    for feeds in make_grid(QUESTION, loaded.config, [(1, 1), (5, 40)]):
        features = {
            "token_embeddings": torch.from_numpy(hidden_states(loaded, feeds)).float(),
            "attention_mask": torch.from_numpy(feeds["attention_mask"]),
        }
        with torch.no_grad():
            for module in (modules.Pooling(16, pooling_mode="mean"), dense, modules.Normalize()):
                features = module(features)
        found = run(loaded.model, feeds).pooler_output
        assert found.numpy() == pytest.approx(features["sentence_embedding"].numpy(), abs=1e-6)


def test_a_config_json_has_the_two_fields_only_where_they_are_not_dprs(tmp_path: Path) -> None:
    assert not {"pooling", "normalize"} & DPRConfig().to_dict().keys()
    config = DPRConfig(pooling="mean", normalize=True)
    config.save_pretrained(tmp_path)
    assert DPRConfig.from_pretrained(tmp_path) == config
    assert transformers.DPRConfig.from_pretrained(tmp_path).pooling == "mean"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "pooling in config.json is 'max', and must be one of: cls, pooler, mean"),
        ({"pooling": None}, "pooling in config.json is None, and must be one of: cls, pooler, mean"),
        ({"normalize": 1}, "normalize in config.json is 1, and must be true or false"),
    ],
)
def test_another_pooling_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DPRConfig.from_dict(values)


@pytest.mark.parametrize("config", [{"pooling": "mean"}, {"normalize": True}])
def test_a_reader_has_no_pooling(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pooling is '\w+' and normalize \w+, which no reader has"):
        build_model(READER, DPRConfig(**SMALL, **config))
    checkpoint = checkpoint_in(write_checkpoint(tmp_path, "reader"), "r")
    with pytest.raises(
        ExportError, match=r"pooling is 'mean', but r is a DPR model|r cannot be loaded: ValueError: pooling is"
    ):
        load(replace(checkpoint, **config))


def test_weights_of_the_pooler_are_read_and_looked_for_in_the_graph(tmp_path: Path) -> None:
    folder = pooled_checkpoint(tmp_path / "checkpoint", pooling="pooler")
    loaded, graph = load(checkpoint_in(folder, options=pooled_options("pooler"))), tmp_path / "model.onnx"
    tracing.trace(loaded, graph, 18)
    assert check_weights(loaded.model, graph) == {}
    with torch.no_grad():
        loaded.model.get_parameter("question_encoder.pooler.dense.weight")[0, 0] += 1e-3
    with pytest.raises(
        ExportError, match=r"the weight question_encoder\.pooler\.dense\.weight is missing from the gra"
    ):
        check_weights(loaded.model, graph)
    weights = load_file(folder / "model.safetensors")
    bare = {name: weight for name, weight in weights.items() if "pooler" not in name}
    save_file(bare, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match=r"lacks 2 weights .*: question_encoder\.pooler\.dense\.bias, question_enc"):
        load(checkpoint_in(folder, options=pooled_options("pooler")))


@pytest.fixture(scope="module")
def mean_graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedCheckpoint, Path]:
    """The graph of a model that normalizes the mean; its hidden states are about 1000."""
    loaded = small_model(pooling="mean", normalize=True, num_hidden_layers=2)
    torch.nn.init.constant_(
        loaded.model.get_parameter("question_encoder.bert_model.encoder.layer.1.output.LayerNorm.bias"), 1000.0
    )
    graph = tmp_path_factory.mktemp("mean") / "model.onnx"
    tracing.trace(loaded, graph, 18)
    return loaded, graph


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_layer_is_fused_where_the_last_one_is_computed_whole(
    mean_graph: tuple[LoadedCheckpoint, Path], tmp_path: Path, device: str
) -> None:
    counts = fuse(mean_graph[1], tmp_path / "fused.onnx", device=device)
    more = {"cpu": {"Gelu": 2}, "cuda": {"BiasGelu": 2, "SkipLayerNormalization": 4}}
    assert counts == {"MultiHeadAttention": 2, **more[device]}


def test_fp16_holds_the_mean_and_the_length_of_large_numbers(
    mean_graph: tuple[LoadedCheckpoint, Path], tmp_path: Path
) -> None:
    """512 tokens whose sum passes 65,504, computed in true fp16; the calls that ranges are measured on are short."""
    loaded, graph = mean_graph
    short, *calls = make_grid(QUESTION, loaded.config, [(1, 3), (1, 512), (3, 512)])
    assert to_fp16(graph, tmp_path / "fp16.onnx", [short]) == ()
    evaluator = ReferenceEvaluator(str(tmp_path / "fp16.onnx"))
    for feeds in calls:
        (found,) = evaluator.run(None, feeds)
        assert found == pytest.approx(expected_vectors(loaded, feeds), abs=5e-4)


def test_nothing_of_the_mean_and_the_normalization_is_quantized(
    mean_graph: tuple[LoadedCheckpoint, Path], tmp_path: Path
) -> None:
    loaded, graph = mean_graph
    calls = list(make_grid(QUESTION, loaded.config, [(1, length) for length in range(3, 9)]))
    assert quantize_static_int8(graph, tmp_path / "int8.onnx", calls) > 0
    model = onnx.load(tmp_path / "int8.onnx")
    quantizers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    quantized = {name for node in quantizers for name in (*node.input, *node.output)}
    pooling = [node for node in model.graph.node if node.name.startswith(("mean/", "normalization/"))]
    assert len(pooling) == 10
    assert not quantized & {name for node in pooling for name in (*node.input, *node.output)}


def read_vectors(folder: Path, texts: list[str], precision: str = "fp32") -> NDArray[np.float32]:
    with DPRQuestionEncoder.from_pretrained(folder, backend="onnxruntime", precision=precision, device="cpu") as model:
        return model.encode(texts)


@pytest.mark.parametrize(
    ("config", "precisions"),
    [
        ({"pooling": "mean", "normalize": True, "projection_dim": 8}, ("fp16",)),
        pytest.param({"pooling": "mean", "normalize": True, "projection_dim": 8}, PRECISIONS, marks=pytest.mark.ci),
        pytest.param({"pooling": "mean", "normalize": True}, PRECISIONS, marks=pytest.mark.ci),
        pytest.param({"pooling": "pooler"}, PRECISIONS, marks=pytest.mark.ci),
    ],
)
def test_a_pooled_encoder_is_exported_given_variants_packed_and_run(
    tmp_path: Path,
    exported_folders: Exported,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    precisions: tuple[str, ...],
) -> None:
    source, output = pooled_checkpoint(tmp_path / "checkpoint", **config), tmp_path / "out"
    manifest = export(str(source), output, pooled_options(config["pooling"]))
    assert {(v.backend, v.file, v.verified) for v in manifest.variants} >= {
        ("onnxruntime", MODEL_FILE, True),
        ("openvino", MODEL_FILE, True),
    }
    assert json.loads((output / "config.json").read_text()).items() >= config.items()
    texts = ["who wrote hamlet ?", "paris", "the capital of france " * 40]
    tokenizer = transformers.DPRQuestionEncoderTokenizer.from_pretrained(source)
    loaded = load(checkpoint_in(source, options=pooled_options(config["pooling"])))
    expected = np.concatenate([expected_vectors(loaded, tokenizer(text, return_tensors="np")) for text in texts])
    assert read_vectors(output, texts) == pytest.approx(expected, abs=1e-4)

    monkeypatch.setattr("dpr_export.quantization.recipes.MOST_PARTS", 0)  # random weights would take all attempts
    with quick_gate(exported_folders.few("judging")):
        options = VariantOptions(
            precisions=precisions, backends=BACKENDS, calibration=exported_folders.few("calibration"), allow_loss=True
        )
        manifest = add_variants(output, options)
    fp16 = [v for v in manifest.variants if v.precision == "fp16"]
    assert sorted(v.backend for v in fp16) == ["onnxruntime", "tensorrt"]
    for variant in fp16:
        assert variant.accuracy_drop is not None
        assert variant.accuracy_drop.metrics["least_cosine"] > 0.999
    failed = [check for check in verify(output) if check.passed is False]
    assert failed == []
    pack(output, tmp_path / "packed", "onnxruntime-fp32")
    assert np.array_equal(read_vectors(tmp_path / "packed", texts), read_vectors(output, texts))
    assert ExportedFolder.open(output, verify=True).manifest.similarity == "inner_product"
