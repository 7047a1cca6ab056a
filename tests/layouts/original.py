"""What a layout is compared with: the library that people use, on the folder or file that it wrote."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.layouts.texts import LANGUAGES
from tests.layouts.vocabularies import LENGTH

Row = tuple[str, ...]  # a text, or a title and a text
Compute = Callable[..., torch.Tensor]  # from a tokenizer's columns to vectors (rows, dim)


@dataclass(frozen=True)
class Original:
    """A rebuilt checkpoint, how it is exported, and what its own library computes.

    Attributes:
        source: the folder or file to export.
        options: the fields of ExportOptions to export it with.
        kind: "question" or "context".
        tokenize: rows to ids, as the library makes them.
        vectors: rows to float32 (rows, dim), as the library computes them.
        languages: the languages that its tokenizer was trained on.
    """

    source: Path
    options: dict[str, Any]
    kind: str
    tokenize: Callable[[Sequence[Row]], list[list[int]]]
    vectors: Callable[[Sequence[Row]], NDArray[np.float32]]
    languages: tuple[str, ...] = field(default=LANGUAGES)


def randomize(model: torch.nn.Module, seed: int = 0) -> Any:
    """Draw every weight, biases and LayerNorms too (which start as zeros and ones), and return the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            mean = 1.0 if weight.ndim == 1 and "norm" in name.lower() and name.endswith("weight") else 0.0
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2 + mean)
    return model.eval()


def by_transformers(
    source: Path, kind: str, tokenizer: Any, compute: Compute, options: dict[str, Any] | None = None
) -> Original:
    """An original whose rows are transformers' and whose vectors are `compute(**columns)`, one row at a time."""

    def columns(row: Row) -> Any:
        return tokenizer(*[[text] for text in row], truncation=True, max_length=LENGTH, return_tensors="pt")

    def vectors(rows: Sequence[Row]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.concatenate([compute(**columns(row)).float().numpy() for row in rows])

    def tokenize(rows: Sequence[Row]) -> list[list[int]]:
        return [columns(row).input_ids[0].tolist() for row in rows]

    return Original(source, options or {}, kind, tokenize, vectors)


def cls_of(model: torch.nn.Module) -> Compute:
    """[CLS] of the last layer."""
    return lambda **columns: model(**columns).last_hidden_state[:, 0]


def pooler_of(model: torch.nn.Module) -> Compute:
    """The pooler's output; for DPR's classes, the vector."""
    return lambda **columns: model(**columns).pooler_output


def mean_of(model: torch.nn.Module) -> Compute:
    """The mean of the last layer over the tokens that the mask keeps."""

    def compute(**columns: torch.Tensor) -> torch.Tensor:
        mask = columns["attention_mask"][..., None].float()
        return (model(**columns).last_hidden_state * mask).sum(1) / mask.sum(1)

    return compute
