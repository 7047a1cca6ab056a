"""Checkpoints that TensorFlow wrote: `tf_model.h5`, and `model.safetensors` of the same names.

The files are laid out here as transformers 4.57.6 and TensorFlow 2.21 lay them out: names, groups and attributes were
compared with files that TFDPRQuestionEncoder, TFDPRContextEncoder and TFDPRReader saved, and the graphs exported from
those with what TensorFlow computes. The weights are those of a PyTorch model, with which all is compared.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRReader
from tests.checkpoints import checkpoint_in

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Weights = dict[str, torch.Tensor]


def tensorflow_name(name: str) -> str:
    """`ctx_encoder.bert_model.encoder.layer.0.output.LayerNorm.bias` as TFDPRContextEncoder calls it."""
    *modules, last = name.replace(".layer.", ".layer_._").split(".")
    if modules[-1] == "LayerNorm":
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif modules[-1] in ("token_type_embeddings", "position_embeddings"):
        last = "embeddings"
    elif last == "weight" and modules[-1] != "word_embeddings":
        last = "kernel"
    return "/".join([*modules, f"{last}:0"])


def in_tensorflow(weights: Weights) -> Weights:
    names = {name: tensorflow_name(name) for name in weights}
    return {new: weights[old].T.contiguous() if "/kernel" in new else weights[old] for old, new in names.items()}


def write_h5(folder: Path, weights: Weights, model: str = "tfdpr_model_1") -> Path:
    """Replace a checkpoint's weights by a `tf_model.h5`."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    tensors = in_tensorflow(weights)
    (layer,) = {name.split("/")[0] for name in tensors}
    with h5py.File(folder / "tf_model.h5", "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = "2.21.0"
        file.attrs["layer_names"] = [layer]
        file.create_group("top_level_model_weights").attrs["weight_names"] = []
        group = file.create_group(layer)
        group.attrs["weight_names"] = [f"{model}/{name}" for name in tensors]
        for name, tensor in tensors.items():
            group[f"{model}/{name}"] = tensor.numpy()
    return folder


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def loaded(folder: Path) -> Weights:
    return dict(load(checkpoint_in(folder, "x")).model.state_dict())


def same(found: Weights, expected: Weights) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("kind", "projection"), [("question", 0), ("question", 16), ("context", 16), ("reader", 0)])
def test_every_weight_is_the_pytorch_models(checkpoint, kind: str, projection: int) -> None:
    folder = checkpoint(kind, projection_dim=projection, num_hidden_layers=11)
    weights = weights_of(folder)
    assert same(loaded(write_h5(folder, weights)), weights)


def test_the_graph_answers_as_the_pytorch_model_of_these_weights(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("reader")
    reference = transformers.DPRReader.from_pretrained(folder).eval()
    write_h5(folder, weights_of(folder))
    manifest = export(str(folder), tmp_path / "out", ExportOptions(backends=["onnxruntime"]))
    assert (manifest.source.name, len(manifest.source.sha256)) == (str(folder), 64)
    ids = np.random.default_rng(0).integers(1, 120, (3, 17))
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids), torch.ones(3, 17, dtype=torch.long))
    with DPRReader.from_pretrained(tmp_path / "out", backend="onnxruntime") as reader:
        outputs = reader(ids, np.ones_like(ids))
    for name in KINDS["reader"].outputs:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-4)


def test_safetensors_that_tensorflow_wrote_load(checkpoint) -> None:
    folder = checkpoint("context", projection_dim=16)
    weights = weights_of(folder)
    save_file(in_tensorflow(weights), folder / "model.safetensors", metadata={"format": "tf"})
    assert same(loaded(folder), weights)


def test_weights_in_half_precision_load_in_float32(checkpoint) -> None:
    folder = checkpoint("question")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": "float16"}))
    half = {name: weight.half() for name, weight in weights_of(folder).items()}
    assert same(loaded(write_h5(folder, half)), {name: weight.float() for name, weight in half.items()})


def test_the_pooler_that_older_files_hold_is_left_out(checkpoint) -> None:
    folder = checkpoint("question")
    weights = weights_of(folder)
    pooler = {f"question_encoder.bert_model.pooler.dense.{name}": torch.ones(32, 32) for name in ("weight", "bias")}
    assert same(loaded(write_h5(folder, weights | pooler, model="tfdpr_question_encoder")), weights)


@pytest.mark.parametrize("other", ["model.safetensors", "pytorch_model.bin"])
def test_a_pytorch_file_beside_it_is_read_instead(checkpoint, other: str) -> None:
    folder = checkpoint("question")
    weights = weights_of(folder)
    write_h5(folder, {name: torch.zeros_like(weight) for name, weight in weights.items()})
    if other.endswith(".bin"):
        torch.save(weights, folder / other)
    else:
        save_file(weights, folder / other, metadata={"format": "pt"})
    assert same(loaded(folder), weights)


def test_it_is_taken_from_the_hub_where_it_is_the_only_one(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "cache" / "models--somebody--question"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = write_h5(checkpoint("question"), weights_of(tmp_path / "checkpoint"))
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with resolve_checkpoint("somebody/question") as checkpoint_found:
        assert checkpoint_found.weights[0].name == "tf_model.h5"


def test_a_missing_weight_is_an_error_that_names_it(checkpoint) -> None:
    folder = checkpoint("reader")
    weights = weights_of(folder)
    del weights["span_predictor.qa_classifier.weight"]
    with pytest.raises(
        ExportError, match=r"tf_model\.h5 of x lacks 1 weights of a DPRReader: .*qa_classifier\.weight$"
    ):
        loaded(write_h5(folder, weights))


def test_a_weight_too_many_is_an_error_that_names_it(checkpoint) -> None:
    folder = checkpoint("question")
    weights = weights_of(folder) | {"question_encoder.encode_proj.weight": torch.ones(16, 32)}
    with pytest.raises(ExportError, match=r"encode_proj\.weight, .* set projection_dim to 16 in it$"):
        loaded(write_h5(folder, weights))


def test_a_weight_of_another_shape_is_an_error_that_names_it(checkpoint) -> None:
    folder = checkpoint("question")
    weights = weights_of(folder)
    name = "question_encoder.bert_model.encoder.layer.1.output.dense.weight"
    weights[name] = weights[name].T
    with pytest.raises(
        ExportError,
        match=rf"{name} in tf_model\.h5 of x has shape \[64, 32\], but the configuration requires \[32, 64\]",
    ):
        loaded(write_h5(folder, weights))


def test_the_names_of_the_weights_say_the_kind(checkpoint) -> None:
    folder = checkpoint("question")
    weights = weights_of(checkpoint("context", "other"))
    write_h5(folder, weights)
    assert loaded(folder).keys() == weights.keys()


@pytest.mark.parametrize("fields", [{"hidden_act": "no_such"}, {"num_attention_heads": 5}])
def test_a_configuration_that_makes_no_model_is_refused(checkpoint, fields: dict) -> None:
    folder = checkpoint("question")
    write_h5(folder, weights_of(folder))
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ExportError, match=r"tf_model\.h5 of x cannot be loaded: "):
        loaded(folder)


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_file_that_is_cut_short_is_refused(checkpoint, share: float) -> None:
    folder = checkpoint("question")
    write_h5(folder, weights_of(folder))
    content = (folder / "tf_model.h5").read_bytes()
    (folder / "tf_model.h5").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ExportError, match=r"^tf_model\.h5 of x cannot be loaded: [^\n]+$"):
        loaded(folder)


def test_without_h5py_one_line_says_what_to_install(checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint("question")
    write_h5(folder, weights_of(folder))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ExportError, match=r'tf_model\.h5 of x is read with h5py: pip install "dpr-export\[export\]"'):
        loaded(folder)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("external", "takes its values from another file"),
        ("virtual", "takes its values from another file"),
        ("large", r"has [\d,]+ bytes, but the file only"),
        ("whole numbers", "is of type uint8, not floating point"),
        ("twice", "occurs twice"),
    ],
)
def test_a_file_that_takes_numbers_from_elsewhere_is_refused(
    checkpoint, tmp_path: Path, how: str, message: str
) -> None:
    """Otherwise a checkpoint from the hub could put any file of this machine into the graph that is pushed."""
    folder = checkpoint("question")
    write_h5(folder, weights_of(folder))
    (tmp_path / "secret").write_bytes(bytes(range(1, 129)) * 120)
    with h5py.File(folder / "tf_model.h5", "r+") as file:
        place = next(name for name in _datasets(file) if name.endswith("word_embeddings/weight:0"))
        if how == "twice":
            file[place.replace("tfdpr_model_1", "other")] = file[place][()]
        else:
            del file[place]
        if how == "external":
            file.create_dataset(place, (120, 32), "f4", external=[(str(tmp_path / "secret"), 0, 120 * 32 * 4)])
        elif how == "virtual":
            layout = h5py.VirtualLayout((120, 32), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (120, 32))
            file.create_virtual_dataset(place, layout)
        elif how == "large":
            file.create_dataset(place, (1 << 20, 1 << 12), "f4", chunks=(1, 1 << 12))
        elif how == "whole numbers":
            file[place] = np.ones((120, 32), np.uint8)
    with pytest.raises(ExportError, match=message):
        loaded(folder)


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names
