"""What must be refused, and the word of the error that names it: layouts whose vectors an export would not give."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.layouts import vocabularies
from tests.layouts.adapters import adapter, quietly
from tests.layouts.original import Original, by_transformers, cls_of
from tests.layouts.other_libraries import facebook_roberta, save_facebook
from tests.layouts.sentence_transformers_folders import as_version_2, as_version_5, dense, folder_of, layer_norm
from tests.layouts.transformers_classes import SAFE, build, dpr, edit, plain, rag, save

Make = Callable[[Path], Original]


@dataclass(frozen=True)
class Refused:
    """A function that writes what is refused, and a pattern that the error matches."""

    make: Make
    match: str


def without_option(make: Make, *names: str) -> Make:
    """The same checkpoint, exported without some of its options."""

    def made(folder: Path) -> Original:
        original = make(folder)
        return replace(original, options={k: v for k, v in original.options.items() if k not in names})

    return made


def with_option(make: Make, **options: Any) -> Make:
    def made(folder: Path) -> Original:
        original = make(folder)
        return replace(original, options={**original.options, **options})

    return made


def with_field(make: Make, file: str, **fields: Any) -> Make:
    """The same checkpoint, with other fields in a JSON file."""

    def made(folder: Path) -> Original:
        original = make(folder)
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")
        return original

    return made


def without_tokenizer(folder: Path) -> Original:
    original = dpr(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return original


def facebook(encoder: str, prefix: str) -> Make:
    """A bi-encoder's file of another library's encoder."""

    def make(folder: Path) -> Original:
        original = facebook_roberta()(folder)
        body = f"question_model.{prefix}"
        weights = {
            body + "encoder.layers.0.fc1.weight": torch.ones(64, 32),
            body + "embed_tokens.weight": torch.ones(9, 32),
        }
        save_facebook(original.source, weights, encoder)
        return original

    return make


def japanese(named: str) -> Make:
    """BertJapaneseTokenizer's files; the class is named in tokenizer_config.json, or only in config.json."""

    def make(folder: Path) -> Original:
        model = build("BertModel", vocabularies.bert())
        model.save_pretrained(folder)
        vocabularies.write_vocab(folder)
        options = {"do_lower_case": False, "word_tokenizer_type": "basic", "subword_tokenizer_type": "wordpiece"}
        tokenizer = transformers.BertJapaneseTokenizer(str(folder / "vocab.txt"), **options)
        tokenizer.save_pretrained(folder)
        if named == "config.json":
            edit(folder, tokenizer_class="BertJapaneseTokenizer")
            (folder / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")
            (folder / "special_tokens_map.json").unlink(missing_ok=True)
        options = {"kind": "question", "pooling": "cls"}
        return by_transformers(folder, "question", tokenizer, cls_of(model), options)

    return make


def ance(folder: Path) -> Original:
    """pyserini's AnceEncoder: a RoBERTa, whose [CLS] goes through a Linear and a LayerNorm of its own."""
    original = plain("RobertaForMaskedLM", "roberta")(folder)
    heads = torch.nn.ModuleDict({"embeddingHead": torch.nn.Linear(32, 16), "norm": torch.nn.LayerNorm(16)})
    weights = {name: weight for name, weight in load_file(folder / SAFE).items() if name.startswith("roberta.")}
    save_file({**weights, **heads.state_dict()}, folder / SAFE, metadata={"format": "pt"})
    edit(folder, architectures=["AnceEncoder"])
    return original


def other_adapter(folder: Path) -> Original:
    """An adapter of peft's that is no LoRA."""
    import peft

    tokenizer = vocabularies.bert()
    base = build("BertModel", tokenizer)
    save(base, tokenizer, folder / "base")
    config = peft.IA3Config(
        target_modules=["key", "value"], feedforward_modules=[], base_model_name_or_path=str(folder / "base")
    )
    quietly(peft.PeftModel, base, config).save_pretrained(folder / "adapter")
    options = {"kind": "question", "pooling": "cls"}
    return by_transformers(folder / "adapter", "question", tokenizer, cls_of(base), options)


PROMPTS = {"prompts": {"query": "query: ", "document": "passage: "}, "default_prompt_name": "query"}

REFUSED: dict[str, Refused] = {
    "dpr, no tokenizer": Refused(without_tokenizer, "tokenizer"),
    "rag, context": Refused(with_option(rag("RagModel"), kind="context"), "context"),
    "bert, no kind": Refused(without_option(plain("BertModel", "bert"), "kind"), "kind"),
    "bert, BertForMaskedLM has no pooler": Refused(
        with_option(plain("BertForMaskedLM", "bert"), pooling="pooler"), "pooler"
    ),
    "distilbert has no pooler": Refused(with_option(plain("DistilBertModel", "bert"), pooling="pooler"), "pooler"),
    "ance, AnceEncoder": Refused(ance, "embeddingHead|AnceEncoder"),
    "ance, RobertaModel named": Refused(
        with_field(ance, "config.json", architectures=["RobertaModel"]), "embeddingHead"
    ),
    "electra": Refused(plain("ElectraModel", "bert", embedding_size=32), "(?i)electra"),
    "sentence-transformers, Dense with Tanh": Refused(
        folder_of("cls", dense(activation="Tanh")), "Tanh"
    ),
    "sentence-transformers, 5, Dense with Tanh": Refused(
        folder_of("cls", dense(activation="Tanh"), change=as_version_5), "Tanh"
    ),
    "sentence-transformers, Dense with a residual": Refused(
        folder_of("cls", dense(use_residual=True)), "use_residual"
    ),
    "sentence-transformers, max": Refused(folder_of("max"), "max"),
    "sentence-transformers, 2, max": Refused(folder_of("max", change=as_version_2), "max"),
    "sentence-transformers, two poolings": Refused(folder_of(("cls", "mean")), "cls.*mean"),
    "sentence-transformers, 2, two poolings": Refused(
        folder_of(("cls", "mean"), change=as_version_2), "cls.*mean"
    ),
    "sentence-transformers, mean_sqrt_len_tokens": Refused(folder_of("mean_sqrt_len_tokens"), "mean_sqrt_len_tokens"),
    "sentence-transformers, prompts": Refused(folder_of("cls", **PROMPTS), "prompt"),
    "sentence-transformers, LayerNorm": Refused(folder_of("cls", layer_norm), "LayerNorm"),
    "sentence-transformers, do_lower_case": Refused(
        with_field(folder_of("cls", change=as_version_2), "sentence_bert_config.json", do_lower_case=True),
        "do_lower_case",
    ),
    "peft, DoRA": Refused(adapter(use_dora=True), "(?i)dora"),
    "peft, rsLoRA": Refused(adapter(use_rslora=True), "(?i)rslora"),
    "peft, IA3": Refused(other_adapter, "IA3"),
    "facebookresearch, pytext_bert": Refused(facebook("pytext_bert", ""), "pytext_bert"),
    "facebookresearch, fairseq_roberta": Refused(
        facebook("fairseq_roberta", "fairseq_roberta.model.encoder.sentence_encoder."), "fairseq_roberta"
    ),
    "BertJapaneseTokenizer": Refused(japanese("tokenizer_config.json"), "BertJapaneseTokenizer"),
    "BertJapaneseTokenizer, in config.json alone": Refused(japanese("config.json"), "BertJapaneseTokenizer"),
}  # fmt: skip
