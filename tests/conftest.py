"""Checkpoints that the tests make: tiny random ones of each kind, as transformers writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dpr_export.exporter import export
from dpr_export.models.kinds import KINDS

WORDS = (
    "who wrote hamlet ? shakespeare is a play by william the capital of france paris river what when where it was "
    "in on and , . ' - ! ##s ##ing ##ed ##a ##b a b c d e f g h i j k l m n o p q r s t u v w x y z"
).split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
TINY = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}

MakeCheckpoint = Callable[..., Path]


def write_checkpoint(folder: Path, kind: str, seed: int = 0, **config: Any) -> Path:
    """Write a checkpoint with random weights of one kind, and a vocabulary."""
    torch.manual_seed(seed)
    configuration = transformers.DPRConfig(**{**TINY, **config})
    model = getattr(transformers, KINDS[kind].architecture)(configuration)
    for name, parameter in model.named_parameters():  # biases and LayerNorm too, which start as zeros and ones
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.2)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """A function that writes a tiny checkpoint: `checkpoint("reader", hidden_act="relu")`."""

    def make(kind: str, name: str = "checkpoint", **config: Any) -> Path:
        return write_checkpoint(tmp_path / name, kind, **config)

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An exported folder of each kind, by its name; `tiny_checkpoints` holds what they were made from."""
    folder = tmp_path_factory.mktemp("tiny")
    made = {}
    for kind in KINDS:
        source = write_checkpoint(folder / f"{kind}-checkpoint", kind)
        export(str(source), folder / kind)
        made[kind] = folder / kind
    return made


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The exported demo model of each kind: trained weights."""
    folder = tmp_path_factory.mktemp("demo")
    for kind in KINDS:
        export(f"demo/{kind}", folder / f"{kind}-onnx")
    return {kind: folder / f"{kind}-onnx" for kind in KINDS}
