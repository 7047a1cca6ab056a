"""Damage to a rebuilt checkpoint: weights that lack, have a foreign name or another shape, and files that are gone.

A damaged checkpoint is refused, or its vectors are still the original's: a foreign weight may be passed over.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
Damage = Callable[[Path], None]  # of the source: a folder, or a file

# A weight of the last layer that every vector depends on.
NEEDED = re.compile(r"(layer\.1\..*(attention\.self\.value|v_lin)\.weight|lora_B.*weight|linear(_q|_p)?\.weight)$")
# The files of weights, those that are read first before the others.
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.cp")


@dataclass(frozen=True)
class Harm:
    """One damage; `must_fail`: it may not be passed over."""

    apply: Damage
    must_fail: bool = True


def lack(source: Path, pattern: str = "") -> None:
    _change(source, lambda weights, key: weights.pop(key), pattern)


def reshape(source: Path, pattern: str = "") -> None:
    def change(weights: Weights, key: str) -> None:
        weights[key] = torch.cat([weights[key], weights[key]])

    _change(source, change, pattern)


def add(source: Path) -> None:
    def change(weights: Weights, key: str) -> None:
        weights[re.sub(r"1", "7", key, count=1) if "layer.1" in key else key + "_foreign"] = weights[key]

    _change(source, change, "")


def rename(source: Path) -> None:
    """Name a needed weight otherwise: what was expected lacks, and what is there is foreign."""

    def change(weights: Weights, key: str) -> None:
        weights[key.replace("weight", "wait")] = weights.pop(key)

    _change(source, change, "")


def not_a_number(source: Path) -> None:
    def change(weights: Weights, key: str) -> None:
        weights[key] = weights[key].to(torch.int64)

    _change(source, change, "")


def remove(*names: str) -> Damage:
    """Remove each file of these names, wherever it is."""

    def apply(source: Path) -> None:
        paths = [path for name in names for path in source.rglob(name)]
        assert paths, f"{source} has none of {names}"
        for path in paths:
            path.unlink()

    return apply


def truncate(source: Path) -> None:
    """Cut the files of weights in half."""
    for path in _weight_files(source):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def set_field(file: str, **fields: Any) -> Damage:
    def apply(source: Path) -> None:
        (path,) = source.rglob(file)
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")

    return apply


def _weight_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for pattern in WEIGHTS for path in source.rglob(pattern) if "prediction_head" not in path.name)


def _change(source: Path, change: Callable[[Weights, str], Any], pattern: str) -> None:
    """Change the first needed weight of each file that has one; at least one file has."""
    changed = 0
    for path in _weight_files(source):
        safe = path.suffix == ".safetensors"
        held = load_file(path) if safe else torch.load(path, weights_only=True)
        weights = held.get("model_dict", held)
        needed = re.compile(pattern) if pattern else NEEDED
        if key := next(filter(needed.search, weights), None):
            change(weights, key)
            changed += 1
            _save(weights, path) if safe else torch.save(held, path)
    assert changed, f"no weight of {source} matches {pattern or NEEDED.pattern}"


def _save(weights: Weights, path: Path) -> None:
    save_file({key: weight.contiguous().clone() for key, weight in weights.items()}, path, metadata={"format": "pt"})


COMMON = {
    "a weight lacks": Harm(lack),
    "a weight of another shape": Harm(reshape),
    "a weight of another name": Harm(rename),
    "a foreign weight": Harm(add, must_fail=False),
    "a weight of integers": Harm(not_a_number),
    "weights cut off": Harm(truncate),
}
CONFIG = {"no config.json": Harm(remove("config.json"))}
TOKENIZER = {"no tokenizer": Harm(remove("tokenizer.json"))}
SAFE = {"no weights": Harm(remove("model.safetensors"))}
BIN = {"no weights": Harm(remove("pytorch_model.bin"))}
TRANSFORMERS = COMMON | CONFIG | TOKENIZER | SAFE
POOLING = {"no pooling": Harm(remove("1_Pooling/config.json"))}
DENSE = {
    "Dense lacks its matrix": Harm(lambda source: lack(source, r"^linear\.weight")),
    "Dense lacks its bias": Harm(lambda source: lack(source, r"^linear\.bias")),
    "Dense of another size": Harm(lambda source: reshape(source, r"^linear\.weight")),
    "no config.json of Dense": Harm(remove("2_Dense/config.json")),
}

DAMAGED: dict[str, dict[str, Harm]] = {
    "dpr, BertModel named and model_type bert": TRANSFORMERS,
    "dpr, context encoder with a question encoder's names": TRANSFORMERS,
    "dpr, module.": COMMON | CONFIG | TOKENIZER | BIN,
    "dpr, model.": COMMON | BIN,
    "dpr, shards": COMMON
    | {
        "no index": Harm(remove("model.safetensors.index.json")),
        "a shard is gone": Harm(remove("model-00002-of-*.safetensors")),
        "an index without weights": Harm(set_field("model.safetensors.index.json", weight_map={})),
        "an index to a file elsewhere": Harm(
            set_field("model.safetensors.index.json", weight_map={"a": "../model.safetensors"})
        ),
    },
    "dpr, shards of pickles": COMMON
    | {
        "no index": Harm(remove("pytorch_model.bin.index.json")),
        "a shard is gone": Harm(remove("pytorch_model-00002-of-*.bin")),
    },
    "rag, RagTokenForGeneration": COMMON
    | CONFIG
    | SAFE
    | {"no tokenizer": Harm(remove("question_encoder_tokenizer/tokenizer.json"))},
    "bert, pooler": TRANSFORMERS | {"no pooler": Harm(lambda source: lack(source, r"pooler\.dense\.bias"))},
    "bert, BertForMaskedLM": TRANSFORMERS,
    "distilbert, DistilBertForMaskedLM": TRANSFORMERS,
    "roberta, cls": TRANSFORMERS,
    "roberta, vocab.json and merges.txt": COMMON
    | {"no merges": Harm(remove("merges.txt")), "no vocabulary": Harm(remove("vocab.json"))},
    "xlm-roberta, sentencepiece.bpe.model": COMMON | {"no tokenizer": Harm(remove("sentencepiece.bpe.model"))},
    "camembert, cls": TRANSFORMERS,
    "tevatron, pooler": COMMON
    | {"no pooler's weights": Harm(remove("pooler.pt")), "no pooler's settings": Harm(remove("pooler_config.json"))},
    "sentence-transformers, 5": COMMON | DENSE | POOLING | {"no tokenizer": Harm(remove("tokenizer.json"))},
    "sentence-transformers, 1": COMMON | POOLING | {"no weights of Dense": Harm(remove("2_Dense/pytorch_model.bin"))},
    "haystack, question": COMMON
    | {
        "no weights": Harm(remove("language_model.bin")),
        "no settings": Harm(remove("language_model_config.json")),
        "no tokenizer": Harm(remove("tokenizer.json")),
    },
    "haystack, from BERT": COMMON,
    "peft, BertModel": COMMON
    | {
        "no settings": Harm(remove("adapter_config.json")),
        "no weights": Harm(remove("adapter_model.safetensors")),
        "a base that is gone": Harm(set_field("adapter_config.json", base_model_name_or_path="/nowhere/base")),
        "no base": Harm(set_field("adapter_config.json", base_model_name_or_path=None)),
        "another rank": Harm(set_field("adapter_config.json", r=3)),
    },
    "peft, biases": {"a bias lacks": Harm(lambda source: lack(source, r"layer\.1.*value.*bias"))},
    "peft, modules_to_save": {"a module lacks": Harm(lambda source: lack(source, r"pooler\.dense\.weight"))},
    "facebookresearch, hf_roberta": COMMON,
}
