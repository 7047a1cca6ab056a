"""Folders that sentence-transformers wrote: by this version itself, and the layouts of older ones by hand.

The older ones were compared with folders that 1.2.1, 2.2.2, 2.7.0, 3.4.1 and 5.1.2 wrote; this version reads all of
them, and its `encode` is what they are compared with.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from tests.layouts import vocabularies
from tests.layouts.original import Original, Row, randomize
from tests.layouts.transformers_classes import BIN, CONFIG, SAFE, build, save
from tests.layouts.vocabularies import LENGTH

Change = Callable[[Path], None]
Head = Callable[[], torch.nn.Module]
# The modes of 1.x and 2.0, by their flags; 2.5 added two more, and include_prompt.
MODES = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens"}
LATER = {"weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}
SHORTER = LENGTH - 28  # max_seq_length, where the tokenizer's own length is another
DENSE_FIELDS = ("in_features", "out_features", "bias", "activation_function")
CONFIGS = {"sentences": "sentence_bert_config.json", "model": "config_sentence_transformers.json"}


def folder_of(
    pooling: Any = "cls",
    *more: Head,
    model: str = "BertModel",
    tokenizer: str = "bert",
    kind: str = "question",
    change: Change | None = None,
    **options: Any,
) -> Callable[[Path], Original]:
    """A Transformer, Pooling and more modules, saved by sentence-transformers, then changed."""

    def make(folder: Path) -> Original:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        rows = getattr(vocabularies, tokenizer)()
        base = folder.parent / f"{folder.name}-base"
        save(build(model, rows), rows, base)
        transformer = Transformer(str(base))
        pool = Pooling(transformer.get_embedding_dimension(), pooling)
        heads = [randomize(module(), seed) for seed, module in enumerate(more)]
        SentenceTransformer(modules=[transformer, pool, *heads], device="cpu", **options).save(str(folder))
        if change:
            change(folder)
        return by_sentence_transformers(folder, kind)

    return make


def by_sentence_transformers(folder: Path, kind: str) -> Original:
    """What sentence-transformers reads in a folder, and computes of it."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")

    def vectors(rows: Sequence[Row]) -> NDArray[np.float32]:
        encoded = [model.encode([_input(row)], show_progress_bar=False) for row in rows]
        return np.concatenate(encoded).astype(np.float32)

    def tokenize(rows: Sequence[Row]) -> list[list[int]]:
        return [model.preprocess([_input(row)])["input_ids"][0].tolist() for row in rows]

    return Original(folder, {"kind": kind}, kind, tokenize, vectors)


def _input(row: Row) -> Any:
    return row[0] if len(row) == 1 else list(row)


def dense(inputs: int = 32, outputs: int = 16, activation: str = "Identity", **options: Any) -> Head:
    """A Dense module; `activation` is the name of a class of torch.nn."""

    def make() -> torch.nn.Module:
        from sentence_transformers.base.modules import Dense

        return Dense(inputs, outputs, activation_function=getattr(torch.nn, activation)(), **options)

    return make


def normalize() -> torch.nn.Module:
    from sentence_transformers.base.modules import Normalize

    return Normalize()


def layer_norm() -> torch.nn.Module:
    from sentence_transformers.sentence_transformer.modules import LayerNorm

    return LayerNorm(32)


def as_version_5(folder: Path) -> None:
    """Rewrite what 6.x changed: the names of modules, Pooling's and Dense's fields, where the length stands."""
    modules = _read(folder / "modules.json")
    for module in modules:
        name = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{name}"
        path = folder / module["path"] / CONFIG
        if name == "Pooling":
            _write(path, _flags(_read(path)))
        elif name == "Dense":
            fields = _read(path)
            _write(path, {field: fields[field] for field in DENSE_FIELDS})
        elif name == "Normalize":
            path.unlink()
            path.parent.rmdir()
    _write(folder / "modules.json", modules)
    _write(folder / CONFIGS["sentences"], {"max_seq_length": SHORTER, "do_lower_case": False})


def as_version_2(folder: Path) -> None:
    """Also without prompts and a similarity, and with pickles for weights; the tokenizer's length is another."""
    as_version_5(folder)
    pooling = _read(folder / "1_Pooling" / CONFIG)
    later = {f"pooling_mode_{flag}" for flag in LATER.values()} | {"include_prompt"}
    _write(folder / "1_Pooling" / CONFIG, {name: value for name, value in pooling.items() if name not in later})
    _write(folder / CONFIGS["model"], {"__version__": _read(folder / CONFIGS["model"])["__version__"]})
    for path in folder.rglob(SAFE):
        torch.save(load_file(path), path.with_name(BIN))
        path.unlink()
    tokenizer = _read(folder / "tokenizer_config.json")
    _write(folder / "tokenizer_config.json", tokenizer | {"model_max_length": 512})


def as_version_1(folder: Path) -> None:
    """Also with the transformer's files in `0_Transformer`, and a config.json that is no model's."""
    as_version_2(folder)
    (folder / CONFIGS["model"]).unlink()
    (folder / "README.md").unlink()
    (folder / "0_Transformer").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name != "modules.json":
            path.rename(folder / "0_Transformer" / path.name)
    modules = _read(folder / "modules.json")
    modules[0]["path"] = "0_Transformer"
    _write(folder / "modules.json", modules)
    _write(folder / CONFIG, {"__version__": "1.2.1"})


def _flags(pooling: dict[str, Any]) -> dict[str, Any]:
    modes = pooling["pooling_mode"]
    chosen = [modes] if isinstance(modes, str) else modes
    flags = {f"pooling_mode_{flag}": mode in chosen for mode, flag in (MODES | LATER).items()}
    return {"word_embedding_dimension": pooling["embedding_dimension"], **flags, "include_prompt": True}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
