"""Checkpoints of every shape load right, and those that would load wrongly are refused by name."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from tests.checkpoints import checkpoint_in


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, weights: dict[str, torch.Tensor], name: str = "pytorch_model.bin") -> Path:
    """Replace a checkpoint's weights by others, in the older format unless told otherwise."""
    (folder / "model.safetensors").unlink()
    if name.endswith(".bin"):
        torch.save(weights, folder / name)
    else:
        save_file(weights, folder / name, metadata={"format": "pt"})
    return folder


def edit_config(folder: Path, **fields: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def same(found: torch.nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    state = found.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_with_pytorch_model_bin_alone_loads(checkpoint) -> None:
    folder = checkpoint("reader")
    weights = weights_of(folder)
    assert same(load(checkpoint_in(rewrite(folder, weights), "x")).model, weights)


def test_the_old_names_of_layernorm_and_position_ids_load(checkpoint) -> None:
    folder = checkpoint("question")
    weights = weights_of(folder)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    old["question_encoder.bert_model.embeddings.position_ids"] = torch.arange(512)[None]
    old["question_encoder.bert_model.pooler.dense.weight"] = torch.zeros(32, 32)
    assert same(load(checkpoint_in(rewrite(folder, old), "x")).model, weights)


def test_weights_without_their_prefix_load(checkpoint) -> None:
    folder = checkpoint("context")
    weights = weights_of(folder)
    bare = {name.removeprefix("ctx_encoder."): tensor for name, tensor in weights.items()}
    assert same(load(checkpoint_in(rewrite(folder, bare), "x")).model, weights)


def test_weights_in_half_precision_are_exported_in_float32(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("question")
    half = {name: tensor.half() for name, tensor in weights_of(folder).items()}
    rewrite(folder, half, "model.safetensors")
    edit_config(folder, dtype="float16")
    assert load(checkpoint_in(folder, "x")).model.dtype == torch.float32
    assert export(str(folder), tmp_path / "out").variants[0].parity.largest_error < 1e-4


def test_a_missing_weight_is_an_error_that_names_it(checkpoint) -> None:
    folder = checkpoint("reader")
    weights = weights_of(folder)
    del weights["span_predictor.qa_classifier.weight"]
    with pytest.raises(ExportError, match=r"lacks 1 weights of a DPRReader: span_predictor\.qa_classifier\.weight"):
        load(checkpoint_in(rewrite(folder, weights), "x"))


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("question_encoder.bert_model.extra.weight", r"1 weights that no DPR model has: .*bert_model\.extra\.weight"),
        (
            "question_encoder.bert_model.encoder.layer.2.x",
            r"1 weights that a DPRQuestionEncoder has not: .*layer\.2\.x",
        ),
        ("question_encoder.encode_proj.weight", r"encode_proj\.weight, .* set projection_dim to 3 in it"),
        ("question_encoder.bert_model.module.embeddings.LayerNorm.bias", r"1 weights that no DPR model has: .*module"),
    ],
)
def test_a_weight_that_nobody_reads_is_named(checkpoint, key: str, named: str) -> None:
    folder = checkpoint("question")
    more = {**weights_of(folder), key: torch.zeros(3, 32)}
    with pytest.raises(ExportError, match=named):
        load(checkpoint_in(rewrite(folder, more), "x"))


def test_a_readers_projection_is_read_by_nobody(checkpoint) -> None:
    folder = checkpoint("reader")
    weights = weights_of(folder)
    more = {**weights, "span_predictor.encoder.encode_proj.weight": torch.zeros(3, 32)}
    assert same(load(checkpoint_in(rewrite(folder, more), "x")).model, weights)


def test_a_weight_of_whole_numbers_is_refused(checkpoint) -> None:
    folder = checkpoint("reader")
    weights = weights_of(folder)
    weights["span_predictor.qa_classifier.weight"] = torch.zeros(1, 32, dtype=torch.int8)
    with pytest.raises(ExportError, match=r"qa_classifier\.weight in .* is of type torch\.int8, and must be floating"):
        load(checkpoint_in(rewrite(folder, weights), "x"))


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": ["DPRQuestionEncoder"]},
        {"architectures": None},
        {"architectures": ["BertModel"]},
        {"model_type": "bert"},
        {"architectures": ["BertModel"], "model_type": "bert"},
    ],
)
def test_the_names_of_the_weights_say_the_kind(checkpoint, fields: dict) -> None:
    folder = checkpoint("context")
    found = load(checkpoint_in(edit_config(folder, **fields), "x"))
    assert found.kind.name == "context"
    assert same(found.model, weights_of(folder))


def test_the_user_may_say_another_kind_of_encoder(checkpoint) -> None:
    folder = checkpoint("question")
    found = load(checkpoint_in(folder, "x", ExportOptions(kind="context")))
    assert found.kind.name == "context"
    assert sorted(found.model.state_dict()) == sorted(
        name.replace("question_encoder.", "ctx_encoder.") for name in weights_of(folder)
    )
    with pytest.raises(ExportError, match=r"lacks \d+ weights of a DPRReader"):
        load(checkpoint_in(folder, "x", ExportOptions(kind="reader")))


def test_a_weight_of_another_shape_is_refused(checkpoint) -> None:
    folder = edit_config(checkpoint("question"), vocab_size=121)
    with pytest.raises(
        ExportError, match=r"word_embeddings.weight in .* has shape \[120, 32\], but .* requires \[121, 32\]"
    ):
        load(checkpoint_in(folder, "x"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"model_type": "gpt2"}, "model_type in config.json of x is 'gpt2', and must be one of dpr, bert, distilbert"),
        ({"model_type": ["bert"]}, r"model_type in config.json of x is \['bert'\]"),
        ({"auto_map": {"AutoModel": "mine.Model"}}, "x has code of its own"),
        ({"hidden_act": "no_such"}, "cannot be loaded"),
        ({"num_hidden_layers": 0}, "num_hidden_layers in config.json is 0, and must be a whole number from 1"),
        ({"max_position_embeddings": 1}, "max_position_embeddings in config.json is 1"),
        ({"vocab_size": None}, "vocab_size in config.json is None"),
        ({"hidden_size": "q"}, "hidden_size in config.json is 'q'"),
        ({"type_vocab_size": 0}, "type_vocab_size in config.json is 0"),
        ({"pad_token_id": -1}, r"pad_token_id is -1, and must be within 0\.\.119"),
        ({"num_attention_heads": 5}, "cannot be loaded"),
    ],
)
def test_a_configuration_that_cannot_be_exported_is_refused(checkpoint, fields: dict, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load(checkpoint_in(edit_config(checkpoint("question"), **fields), "x"))


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04\x95"])
def test_damaged_weights_are_refused(checkpoint, content: bytes) -> None:
    folder = checkpoint("question")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ExportError, match=r"pytorch_model\.bin of x cannot be loaded"):
        load(checkpoint_in(folder, "x"))


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_pickle_that_would_run_code_does_not_run_it(checkpoint, tmp_path: Path) -> None:
    folder = checkpoint("question")
    (folder / "model.safetensors").unlink()
    torch.save({"x": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(ExportError, match="cannot be loaded"):
        load(checkpoint_in(folder, "x"))
    assert not (tmp_path / "ran").exists()


def test_automodel_would_have_loaded_random_weights(checkpoint) -> None:
    """Why `load` dispatches on `architectures`: transformers' own short cut gives another model without an error."""
    folder = checkpoint("context")
    auto = transformers.AutoModel.from_pretrained(folder)
    assert type(auto).__name__ == "DPRQuestionEncoder"
    assert load(checkpoint_in(folder, "x")).kind.name == "context"
