"""Checkpoints that would be exported with other vectors or tokens than their own library's: refused, or right."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.models.tokenization.encoder_tokenizers import DPRQuestionEncoderTokenizer
from tests.checkpoints import checkpoint_in
from tests.layouts.original import Original
from tests.layouts.rebuild import LAYOUTS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SENTENCES = "sentence-transformers, Dense"
PEFT = "peft, patterns"
SETTINGS, TRANSFORMER = "config_sentence_transformers.json", "sentence_bert_config.json"
CONFIG, TOKENIZER, ADAPTER = "config.json", "tokenizer_config.json", "adapter_config.json"


def edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({key: value for key, value in (content | fields).items() if value is not ...}))


def changed(file: str, **fields: Any) -> Callable[[Path], None]:
    """A change of fields of a JSON file; an ellipsis removes one."""
    return lambda folder: edit(folder / file, **fields)


def other_module(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text(path.read_text().replace("sentence_transformers.sentence_transformer.modules.pooling", "mine"))


@pytest.mark.parametrize(
    ("layout", "change", "said"),
    [
        ("roberta, cls", changed(CONFIG, model_type=...), "model_type in config.json .* is None"),
        ("roberta, cls", changed(CONFIG, model_type="bert"), "is 'bert', but its class is RobertaModel"),
        ("roberta, cls", changed(CONFIG, pad_token_id=0), "is 0, after which .* tokenizer pads with 1"),
        ("bert, cls, context", changed(TOKENIZER, tokenizer_class="DistilBertTokenizer"), "gives no token types"),
        ("bert, cls, context", changed(TOKENIZER, model_input_names=["input_ids"]), "gives no token types"),
        (SENTENCES, changed(SETTINGS, truncate_dim=8), "has truncate_dim set"),
        (SENTENCES, changed(SETTINGS, similarity_fn_name="euclidean"), "euclidean"),
        (SENTENCES, changed(SETTINGS, similarity_fn_name=[]), "must be cosine or dot"),
        (SENTENCES, changed(TRANSFORMER, processing_kwargs={"text": {"max_length": 16}}), "processing_kwargs"),
        (SENTENCES, changed(TRANSFORMER, config_args={"num_hidden_layers": 1}), "config_args"),
        (SENTENCES, changed(TRANSFORMER, transformer_task="fill-mask"), "transformer_task"),
        (SENTENCES, changed("1_Pooling/config.json", pooling_mode=[["cls"]]), "only cls and mean"),
        (SENTENCES, changed("2_Dense/config.json", module_output_name="x"), "something else than the vector"),
        (SENTENCES, other_module, r"module of other code, mine\.Pooling"),
        ("dpr, as it should be", changed(CONFIG, layer_norm_eps=None), "cannot be loaded: "),
        ("dpr, as it should be", changed(CONFIG, hidden_act=[1]), "cannot be loaded: "),
        (PEFT, changed(ADAPTER, alpha_pattern={"([a-z.]+)+x": 3}), "take for ever"),
        (PEFT, changed(ADAPTER, alpha_pattern=5), "alpha_pattern of .* is 5, and must be an object"),
    ],
)
def test_what_would_be_wrong_is_refused_in_one_line(
    layout: str, change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    original = LAYOUTS[layout](tmp_path / "checkpoint")
    change(original.source)
    with pytest.raises(ExportError, match=said) as error:
        export(str(original.source), tmp_path / "out", ExportOptions(backends=["onnxruntime"], **original.options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def saved_tokenizer(original: Original, output: Path) -> DPRQuestionEncoderTokenizer:
    export(str(original.source), output, ExportOptions(backends=["onnxruntime"], **original.options))
    return DPRQuestionEncoderTokenizer.from_pretrained(output)


def test_the_length_that_sentence_transformers_gives_holds_though_the_tokenizers_is_shorter(tmp_path: Path) -> None:
    original = LAYOUTS["sentence-transformers, 2"](tmp_path / "checkpoint")
    edit(original.source / TOKENIZER, model_max_length=32)
    assert saved_tokenizer(original, tmp_path / "out").model_max_length == 100


def test_robertas_rows_are_padded_on_the_right(tmp_path: Path) -> None:
    original = LAYOUTS["roberta, cls"](tmp_path / "checkpoint")
    edit(original.source / TOKENIZER, padding_side="left")
    assert saved_tokenizer(original, tmp_path / "out").padding_side == "right"


def test_prompts_that_are_left_to_the_user_are_named(tmp_path: Path) -> None:
    original = LAYOUTS[SENTENCES](tmp_path / "checkpoint")
    options = ExportOptions(**original.options)
    assert "prompts" not in load(checkpoint_in(original.source, options=options)).layout
    edit(original.source / SETTINGS, prompts={"query": "query: ", "document": ""})
    seen = load(checkpoint_in(original.source, options=options)).layout
    assert seen.startswith("sentence-transformers, prompts left out, BERT")


def test_a_head_that_was_trained_is_not_taken_for_one_of_pretraining(tmp_path: Path) -> None:
    original = LAYOUTS["bert, cls"](tmp_path / "checkpoint")
    path = original.source / "model.safetensors"
    save_file({**load_file(path), "cls.weight": torch.zeros(32, 32)}, path, {"format": "pt"})
    with pytest.raises(ExportError, match=r"1 weights that no DPR model has: cls\.weight"):
        load(checkpoint_in(original.source, options=ExportOptions(**original.options)))


def test_small_factors_of_a_huge_product_are_refused_before_it_is_made(tmp_path: Path) -> None:
    original = LAYOUTS["peft, BertModel"](tmp_path / "checkpoint")
    path = original.source / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(key for key in weights if "lora_A" in key)
    rank = len(weights[name])
    weights[name] = torch.zeros(rank, 2_000_000)
    weights[name.replace("lora_A", "lora_B")] = torch.zeros(2_000_000, rank)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ExportError, match="1 weights that fit none of its base"):
        load(checkpoint_in(original.source, options=ExportOptions(**original.options)))
