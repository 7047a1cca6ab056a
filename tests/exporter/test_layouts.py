"""The table of layouts: what is seen is said, and what refers to itself or elsewhere ends in one line.

`tests/layouts` compares each layout with the library that writes it.
"""

import json
from pathlib import Path

import pytest

from dpr_export.exporter import ExportError, ExportOptions
from dpr_export.exporter.checkpoint.load import load
from tests.checkpoints import checkpoint_in
from tests.layouts.rebuild import LAYOUTS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("dpr, as it should be", "transformers, DPR class"),
        ("rag, RagTokenForGeneration", "RAG, DPR class"),
        ("bert, pooler", "transformers, BERT, BERT's pooler"),
        ("roberta, mean", "transformers, RoBERTa, mean pooling"),
        ("sentence-transformers, DistilBERT", "sentence-transformers, DistilBERT, [CLS] pooling"),
        ("peft, BertModel", "LoRA adapter, base: transformers, BERT, [CLS] pooling"),
        ("tevatron, question", "Tevatron's two encoders, BERT, [CLS] pooling"),
    ],
)
def test_what_is_seen_is_said(layout: str, said: str, tmp_path: Path) -> None:
    original = LAYOUTS[layout](tmp_path / "checkpoint")
    loaded = load(checkpoint_in(original.source, options=ExportOptions(**original.options)))
    assert loaded.layout == said


def test_a_refused_one_says_what_was_seen_and_what_would_help(tmp_path: Path) -> None:
    original = LAYOUTS["bert, cls"](tmp_path / "checkpoint")
    with pytest.raises(ExportError, match=r"^x \(transformers, bert\) does not say which kind .*--kind question or"):
        load(checkpoint_in(original.source))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "is an adapter of .*is not a checkpoint"),
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
        ({"peft_type": "VERA"}, "type 'VERA', and only LORA"),
        ({"use_dora": True, "use_rslora": True}, "with use_dora, use_rslora, and only plain LoRA"),
        ({"kasa_config": {"beta": 1}}, "with kasa_config, and only plain LoRA"),
        ({"init_lora_weights": "pissa"}, "with init_lora_weights 'pissa', and only plain LoRA"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_one_line(fields: dict, said: str, tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path), **fields}  # its base is itself
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ExportError, match=said) as error:
        checkpoint_in(tmp_path)
    assert "\n" not in str(error.value)
