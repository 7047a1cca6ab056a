"""Folders and files of libraries that cannot be installed here, rebuilt by hand from their source.

haystack 1.26.4's `DPREncoder.save` was run once, from its language_model.py alone, and wrote the same keys and fields.
facebookresearch/DPR has a tokenizer for "hf_roberta" but no model of it: forks put a RobertaModel where HFBertEncoder
has a BertModel. Its tensorizer strips a text, not a title, before it tokenizes; that is left to the caller.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.layouts import vocabularies
from tests.layouts.original import Original, by_transformers, cls_of, pooler_of
from tests.layouts.transformers_classes import CONFIG, SAFE, build, edit, save
from tests.layouts.vocabularies import LENGTH

PARTS = {"question": "query_encoder", "context": "passage_encoder"}
CLASSES = {"question": "DPRQuestionEncoder", "context": "DPRContextEncoder"}
ENCODERS = {"question": "question_encoder", "context": "ctx_encoder"}
THERE = {"question": "question_model.", "context": "ctx_model."}


def haystack(kind: str = "question", bare: bool = False, part: bool = False) -> Callable[[Path], Original]:
    """A DensePassageRetriever's folder, or the encoder's in it (`part`); `bare`: trained from BERT, with its names."""

    def make(folder: Path) -> Original:
        tokenizer = vocabularies.bert(lower=True)
        models = {name: build(CLASSES[name], tokenizer, seed) for seed, name in enumerate(PARTS)}
        for name, model in models.items():
            _write_language_model(folder / PARTS[name], name, model, tokenizer, bare)
        torch.save({}, folder / "prediction_head_0.bin")
        head = {"training": True, "similarity_function": "dot_product", "task_name": "text_similarity"}
        head |= {"model_type": "text_similarity", "ph_output_type": "per_sequence", "name": "TextSimilarityHead"}
        (folder / "prediction_head_0_config.json").write_text(json.dumps(head), encoding="utf-8")
        source = folder / PARTS[kind] if part else folder
        return by_transformers(source, kind, tokenizer, pooler_of(models[kind]), {"kind": kind})

    return make


def _write_language_model(folder: Path, kind: str, model: Any, tokenizer: Any, bare: bool) -> None:
    save(model, tokenizer, folder)
    weights = model.state_dict()
    edit(folder, name=CLASSES[kind], language="english")
    if bare:  # as DPREncoder.save: what has no place in BERT keeps its name
        prefix = f"{ENCODERS[kind]}.bert_model."
        weights = {name.removeprefix(prefix): weight for name, weight in weights.items()}
        weights |= {
            "pooler.dense.weight": torch.ones(32, 32),
            "pooler.dense.bias": torch.ones(32),
        }  # which nothing reads
        edit(folder, model_type="bert", architectures=["BertForMaskedLM"])
    torch.save(weights, folder / "language_model.bin")
    (folder / CONFIG).rename(folder / "language_model_config.json")
    (folder / SAFE).unlink()


def facebook_roberta(kind: str = "question", projection: int = 0) -> Callable[[Path], Original]:
    """A bi-encoder's file with encoder_model_type hf_roberta, and the folder of its tokenizer."""

    def make(folder: Path) -> Original:
        tokenizer = vocabularies.roberta()
        tokenizer.save_pretrained(folder / "tokenizer")
        weights: dict[str, torch.Tensor] = {}
        models = {name: build("RobertaModel", tokenizer, seed, layer_norm_eps=1e-5) for seed, name in enumerate(THERE)}
        heads = {name: torch.nn.Linear(32, projection) for name in THERE} if projection else {}
        for name, model in models.items():
            weights |= {THERE[name] + key: weight for key, weight in model.state_dict().items()}
            weights[THERE[name] + "embeddings.position_ids"] = torch.arange(LENGTH + 2)[None]
            if heads:
                weights |= {f"{THERE[name]}encode_proj.{k}": v for k, v in heads[name].state_dict().items()}
        path = save_facebook(folder / "dpr_biencoder.0.cp", weights, "hf_roberta")
        options = {"kind": kind, "tokenizer": folder / "tokenizer", "heads": 4}
        vector = cls_of(models[kind])
        compute = (lambda **columns: heads[kind](vector(**columns))) if heads else vector
        return by_transformers(path, kind, tokenizer, compute, options)

    return make


def save_facebook(path: Path, weights: dict[str, torch.Tensor], encoder: str) -> Path:
    params = {"do_lower_case": False, "pretrained_model_cfg": "roberta-base", "encoder_model_type": encoder}
    params |= {"pretrained_file": None, "projection_dim": 0, "sequence_length": 256}
    state = {"model_dict": weights, "optimizer_dict": {}, "scheduler_dict": {}, "offset": 0, "epoch": 1}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"encoder_params": params}, path)
    return path
