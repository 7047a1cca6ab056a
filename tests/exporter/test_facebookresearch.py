"""Files of facebookresearch/DPR, as its training scripts write them: weights, optimizer, schedule, settings."""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import LoadedCheckpoint, load
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.cli import app
from dpr_export.exporter.export import default_output
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Source
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder

Weights = dict[str, torch.Tensor]
THERE = {"question": "question_model.", "context": "ctx_model.", "reader": "encoder."}
PREFIX = {"question": "question_encoder.", "context": "ctx_encoder.", "reader": "span_predictor."}
PARAMS = {"do_lower_case": True, "pretrained_model_cfg": "bert-base-uncased", "projection_dim": 0}


def as_in_facebookresearch(kind: str, folder: Path) -> Weights:
    """The weights of a checkpoint by the names that they had there, with those of BERT that nothing reads."""
    there = THERE[kind]
    weights = {there + "embeddings.position_ids": torch.arange(512)[None]}
    for name, weight in load_file(folder / "model.safetensors").items():
        bare = name.removeprefix(PREFIX[kind]).removeprefix("encoder.").removeprefix("bert_model.")
        weights[bare if bare.startswith("qa_") else there + bare] = weight
    for name, shape in (("weight", (32, 32)), ("bias", (32,))):
        weights[f"{there}pooler.dense.{name}"] = torch.ones(shape)
    return weights


def save(path: Path, weights: object, params: object = PARAMS, zipped: bool = True) -> Path:
    state = {
        "model_dict": weights,
        "optimizer_dict": {"state": {0: {"step": 3, "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-5}]},
        "scheduler_dict": {"last_epoch": 3, "lr_lambdas": [None]},
        "offset": 0,
        "epoch": 39,
        "encoder_params": params,
    }
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture
def biencoder(checkpoint, tmp_path: Path) -> Path:
    """A bi-encoder's file; the checkpoints `question` and `context` hold the same weights and the vocabulary."""
    weights = {}
    for seed, kind in enumerate(("question", "context")):
        weights |= as_in_facebookresearch(kind, checkpoint(kind, kind, seed=seed))
    return save(tmp_path / "dpr_biencoder.cp", weights)


def read(path: Path, kind: str, tokenizer: Path, heads: int | None = 4) -> LoadedCheckpoint:
    with resolve_checkpoint(str(path), ExportOptions(kind=kind, tokenizer=tokenizer, heads=heads)) as checkpoint:
        return load(checkpoint)


def same(reference: LoadedCheckpoint, folder: Path) -> bool:
    expected, state = load_file(folder / "model.safetensors"), reference.model.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", ["question", "context"])
def test_a_biencoder_gives_each_of_its_two_models(biencoder: Path, kind: str) -> None:
    reference = read(biencoder, kind, biencoder.with_name(kind))
    assert reference.kind is KINDS[kind]
    assert same(reference, biencoder.with_name(kind))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_reader_gives_its_model_in_either_format_of_pytorch(checkpoint, tmp_path: Path, zipped: bool) -> None:
    folder = checkpoint("reader")
    path = save(tmp_path / "dpr_reader.5.300", as_in_facebookresearch("reader", folder), zipped=zipped)
    assert same(read(path, "reader", folder), folder)


def test_the_configuration_is_that_of_the_weights(checkpoint, tmp_path: Path) -> None:
    sizes = {"projection_dim": 16, "num_hidden_layers": 11, "type_vocab_size": 3, "max_position_embeddings": 100}
    folder = checkpoint("context", **sizes)
    path = save(tmp_path / "dpr_biencoder.1", as_in_facebookresearch("context", folder))
    found, expected = read(path, "context", folder).config.to_dict(), transformers.DPRConfig.from_pretrained(folder)
    same_fields = found.keys() & expected.to_dict().keys() - {"initializer_range", "transformers_version", "dtype"}
    assert {name: found[name] for name in same_fields} == {name: getattr(expected, name) for name in same_fields}
    assert same_fields > {*sizes, "vocab_size", "intermediate_size", "hidden_act", "layer_norm_eps", "architectures"}


def test_heads_are_64_wide_unless_their_number_is_given(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("question", hidden_size=128, num_attention_heads=2)
    path = save(tmp_path / "file", as_in_facebookresearch("question", folder))
    assert read(path, "question", folder, heads=None).config.num_attention_heads == 2
    assert read(path, "question", folder, heads=8).config.num_attention_heads == 8


def test_a_readers_projection_is_left_out_since_nothing_reads_it(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("reader")
    weights = as_in_facebookresearch("reader", folder) | {"encoder.encode_proj.weight": torch.ones(16, 32)}
    assert same(read(save(tmp_path / "file", weights), "reader", folder), folder)


def test_the_command_exports_what_transformers_computes(
    biencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = "dpr_biencoder.cp --kind question --tokenizer question --heads 4 --backend onnxruntime"
    app(command.split(), standalone_mode=False)
    reference = transformers.DPRQuestionEncoder.from_pretrained("question").eval()
    ids = np.random.default_rng(0).integers(1, 120, (3, 17))
    with DPRQuestionEncoder.from_pretrained("dpr_biencoder-question-onnx", backend="onnxruntime") as model:
        with torch.no_grad():
            expected = reference(torch.from_numpy(ids)).pooler_output
        np.testing.assert_allclose(model(ids).pooler_output, expected, atol=1e-4)
    source = ExportedFolder.open("dpr_biencoder-question-onnx").manifest.source
    assert source == Source("dpr_biencoder.cp", None, hashlib.sha256(biencoder.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("source", "output"),
    [("a/hf_bert_base.cp", "hf_bert_base-question-onnx"), ("dpr_biencoder.39", "dpr_biencoder.39-question-onnx")],
)
def test_the_folder_is_named_after_the_file_and_the_kind(source: str, output: str) -> None:
    assert default_output(source, "question") == Path(output)


class Omegaconf:
    """Modules in omegaconf's name, with the classes that its versions 2.0 to 2.3 pickle."""

    NAMES = (
        "base.ContainerMetadata",
        "base.Metadata",
        "nodes.AnyNode",
        "dictconfig.DictConfig",
        "listconfig.ListConfig",
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.classes: dict[str, Callable[..., Any]] = {}
        monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
        for name in self.NAMES:
            module, _, name = f"omegaconf.{name}".rpartition(".")
            made = type(name, (), {"__module__": module, "__init__": lambda self, **state: vars(self).update(state)})
            monkeypatch.setitem(sys.modules, module, sys.modules.get(module) or ModuleType(module))
            setattr(sys.modules[module], name, made)
            self.classes[name] = made

    def config(self, encoder: str = "hf_bert") -> object:
        """A configuration of a type of encoder, with a parent, a list and a default dictionary in it."""
        from collections import defaultdict

        make = self.classes
        meta = make["ContainerMetadata"](ref_type=Any, object_type=dict, resolver_cache=defaultdict(dict, {"a": {}}))
        node = make["AnyNode"](_val=0.1, _metadata=make["Metadata"](ref_type=Any, object_type=int))
        named = make["AnyNode"](_val=encoder, _metadata=make["Metadata"](ref_type=Any, object_type=str))
        several = make["ListConfig"](_content=[node], _metadata=make["Metadata"](object_type=list))
        parent = make["DictConfig"](_content={"several": several}, _metadata=meta, _parent=None)
        return make["DictConfig"](
            _content={"dropout": node, "encoder_model_type": named}, _metadata=meta, _parent=parent
        )


@pytest.mark.parametrize("zipped", [True, False])
def test_an_encoders_configuration_of_omegaconf_does_not_need_it(checkpoint, tmp_path: Path, zipped: bool) -> None:
    folder = checkpoint("reader")
    with pytest.MonkeyPatch.context() as patch:
        params = {"do_lower_case": True, "encoder": Omegaconf(patch).config()}
        path = save(tmp_path / "file", as_in_facebookresearch("reader", folder), params, zipped)
    assert b"omegaconf.dictconfig" in path.read_bytes()
    assert "omegaconf.dictconfig" not in sys.modules
    assert same(read(path, "reader", folder), folder)


@pytest.mark.parametrize("written", ["flat", "omegaconf"])
def test_an_encoder_of_another_type_is_refused_by_name(checkpoint, tmp_path: Path, written: str) -> None:
    folder = checkpoint("question")
    weights = as_in_facebookresearch("question", folder)
    for encoder, said in (("fairseq_roberta", "fairseq_roberta, and only hf_bert"), ("hf_roberta", "but tokenizer")):
        with pytest.MonkeyPatch.context() as patch:
            newer = {"encoder": Omegaconf(patch).config(encoder)}
            path = save(tmp_path / "file", weights, {"encoder_model_type": encoder} if written == "flat" else newer)
        with pytest.raises(ExportError, match=f"file holds an encoder of the type {encoder}.*{said}|{said}"):
            read(path, "question", folder)


class Payload:
    """An object whose unpickling runs `function`, which would leave the file "ran"."""

    def __init__(self, function: Callable[..., object], argument: object) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple:
        return self.function, (self.argument,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["weights", "params"])
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [(os.mkdir, "ran", f"{os.name}.mkdir"), (eval, "open('ran', 'w')", "eval"), (Path.touch, Path("ran"), "getattr")],
)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run_it(
    checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[..., object],
    argument: object,
    named: str,
    place: str,
    zipped: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = checkpoint("reader")
    good = {"weights": as_in_facebookresearch("reader", folder), "params": PARAMS}
    path = save(tmp_path / "file", **good | {place: Payload(function, argument)}, zipped=zipped)  # type: ignore[arg-type]
    with pytest.raises(
        ExportError,
        match=rf"^[^\n]*file is refused: its pickle would call {named}, and a file of weights must not run code[^\n]*$",
    ):
        read(path, "reader", folder)
    assert not Path("ran").exists()


def test_the_payloads_would_run_where_all_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload(os.mkdir, "ran")))
    assert Path("ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(checkpoint, tmp_path: Path, share: float, zipped: bool) -> None:
    folder = checkpoint("reader")
    path = save(tmp_path / "file", as_in_facebookresearch("reader", folder), zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ExportError, match=r"file is damaged, or not a facebookresearch/DPR checkpoint: [^\n]+$"):
        read(path, "reader", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"question_model.x": torch.ones(1)}, "has no model_dict"),
        ([1, 2], "has no model_dict"),
        ({"model_dict": 5}, "has no model_dict"),
        ({"model_dict": {"question_model.x": 5}}, r"'question_model\.x' in its model_dict is not a weight"),
        ({"model_dict": {5: torch.ones(1)}}, "5 in its model_dict is not a weight"),
        ({"model_dict": {"question_model.x": torch.ones(1).to_sparse()}}, "is not a weight"),
        ({"model_dict": {"question_model.x": torch.ones(1).expand(10**9)}}, "is not a weight"),
        ({"model_dict": {"question_model.x": torch.ones(1, dtype=torch.complex64)}}, "is not a weight"),
        ({"model_dict": {"question_model.x": torch.ones(1, device="meta")}}, "is not a weight"),
        (
            {"model_dict": {"a.b": torch.ones(1)}},
            r"kind is 'question', but .* holds no DPR model: its weights are a\.b",
        ),
        ({"model_dict": {}}, "its weights are none"),
        ({"model_dict": {"question_model.x": torch.ones(1)}}, r"lacks a weight .* embeddings\.word_embeddings\.weight"),
    ],
)
def test_a_file_of_something_else_is_refused(checkpoint, tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "file")
    with pytest.raises(ExportError, match=message):
        read(tmp_path / "file", "question", checkpoint("question"))


def test_a_kind_that_the_file_does_not_hold_is_refused_by_what_it_holds(
    biencoder: Path, checkpoint, tmp_path: Path
) -> None:
    folder = checkpoint("reader", "reader")
    with pytest.raises(ExportError, match=r"kind is 'reader', but .*cp holds question, context$"):
        read(biencoder, "reader", folder)
    path = save(tmp_path / "file", as_in_facebookresearch("reader", folder))
    with pytest.raises(ExportError, match=r"kind is 'context', but .*file holds reader$"):
        read(path, "context", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder.encoder.layer.1.output.dense.bias": None},
            r"lacks 1 weights of a DPRReader: .*1\.output\.dense\.bias",
        ),
        ({"qa_classifier.weight": None}, r"lacks 1 weights of a DPRReader: span_predictor\.qa_classifier\.weight"),
        ({"qa_rank.bias": torch.ones(1)}, r"has 1 weights that a DPRReader has not: span_predictor\.qa_rank\.bias"),
        ({"extra.weight": torch.ones(1)}, r"has 1 weights that a DPRReader has not: .*extra\.weight"),
        ({"encoder.embeddings.x": torch.ones(1)}, r"has 1 weights that a DPRReader has not: .*embeddings\.x"),
        (
            {"qa_outputs.weight": torch.ones(3, 32)},
            r"qa_outputs\.weight in .* has shape \[3, 32\], but the configuration requires \[2, 32\]",
        ),
        ({"encoder.embeddings.word_embeddings.weight": torch.ones(5)}, "in another shape: embeddings.word_embeddings"),
    ],
)
def test_weights_that_are_not_the_models_are_named(checkpoint, tmp_path: Path, change: dict, message: str) -> None:
    folder = checkpoint("reader")
    weights = {**as_in_facebookresearch("reader", folder), **change}
    path = save(tmp_path / "file", {name: weight for name, weight in weights.items() if weight is not None})
    with pytest.raises(ExportError, match=message):
        read(path, "reader", folder)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (None, r"heads must be given \(--heads\): 64 does not divide the hidden size 32"),
        (5, "heads is 5, and must divide the hidden size 32"),
        (0, "heads is 0, and must be 1 or more"),
    ],
)
def test_heads_that_do_not_divide_the_hidden_size_are_refused(biencoder: Path, heads: int | None, message: str) -> None:
    with pytest.raises((ExportError, ValueError), match=message):
        read(biencoder, "question", biencoder.with_name("question"), heads)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"dpr_biencoder\.cp is a file: .*, kind and tokenizer too \(--kind question --tokenizer DIR\)"),
        ({"kind": "question"}, "is a file: "),
        ({"tokenizer": "question"}, "is a file: "),
        ({"kind": "answer", "tokenizer": "question"}, "kind is 'answer', and must be one of question, context, reader"),
        ({"kind": "question", "tokenizer": "nowhere"}, "nowhere is not in the cache and the hub cannot be reached"),
        ({"kind": "question", "tokenizer": "empty"}, "tokenizer empty cannot be read: empty holds no tokenizer"),
        (
            {"kind": "question", "tokenizer": "question", "revision": "main"},
            "revision is 'main', but .* not on the hub",
        ),
    ],
)
def test_what_the_file_does_not_say_must_be_given(
    biencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises((ExportError, ValueError), match=message):
        export(biencoder.name, options=ExportOptions(**given))
    assert not list(tmp_path.glob("*onnx*"))


@pytest.mark.parametrize("source", ["question", "nowhere.cp", "demo/reader", "facebook/dpr-reader-single-nq-base"])
def test_heads_are_refused_with_other_sources(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint("question", "question")
    with pytest.raises(
        ValueError, match=rf"^heads applies only to a facebookresearch/DPR file, and {source} is not a file"
    ):
        export(source, options=ExportOptions(heads=4))


@pytest.mark.parametrize("given", [{"kind": "question"}, {"tokenizer": "question"}, {"heads": 4}])
def test_what_is_for_checkpoints_is_refused_with_an_exported_folder(tiny: dict[str, Path], given: dict) -> None:
    with pytest.raises(
        ValueError, match=rf"^{next(iter(given))} does not apply to .*: variants are added to an exported folder"
    ):
        export(str(tiny["question"]), options=ExportOptions(**given))


def test_a_tokenizer_that_lower_cases_otherwise_than_in_training_is_refused(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("reader")
    path = save(tmp_path / "file", as_in_facebookresearch("reader", folder), {"do_lower_case": False})
    with pytest.raises(
        ExportError, match=r"file was trained with do_lower_case False, but tokenizer .* has True: correct"
    ):
        read(path, "reader", folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert same(read(path, "reader", folder), folder)


def test_the_padding_is_the_tokenizers(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("question")
    vocabulary = (folder / "vocab.txt").read_text().replace("[PAD]\n[UNK]", "[UNK]\n[PAD]")
    (folder / "vocab.txt").write_text(vocabulary)
    path = save(tmp_path / "file", as_in_facebookresearch("question", folder))
    assert read(path, "question", folder).config.pad_token_id == 1
