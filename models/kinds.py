"""The table of the three kinds of DPR model.

A row names the class, the inputs, the outputs, and the default attention mask. As in transformers, encoders mask
padding (`input_ids != pad`), and the reader masks nothing. The tokenizer classes are in `tokenization/by_kind.py`, so
that a manifest is read without loading tokenizers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.outputs import (
    DPRContextEncoderOutput,
    DPRQuestionEncoderOutput,
    DPRReaderOutput,
    ModelOutput,
)

Ids = NDArray[np.int64]


def _mask_padding(input_ids: Ids, pad_token_id: int) -> Ids:
    return np.asarray(input_ids != pad_token_id, dtype=np.int64)


def _mask_nothing(input_ids: Ids, pad_token_id: int) -> Ids:  # noqa: ARG001 (one signature for both masks)
    return np.ones_like(input_ids)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of DPR model.

    Attributes:
        name: "question", "context" or "reader".
        architecture: the class in `architectures` of `config.json`.
        inputs: the inputs of the graph, int64 (batch, sequence).
        outputs: the outputs of the graph, float32.
        token_outputs: the outputs of shape (batch, sequence).
        output_class: the dataclass of the outputs.
        default_mask: (input_ids, pad_token_id) -> the attention mask of a call without one.
        columns: the arguments of its tokenizer in their order, of question, title and text.
    """

    name: str
    architecture: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    token_outputs: tuple[str, ...]
    output_class: type[ModelOutput]
    default_mask: Callable[[Ids, int], Ids]
    columns: tuple[str, ...]


IDS, EMBEDS = "input_ids", "inputs_embeds"  # the first input of a graph: token ids, or word embeddings

_ENCODER_INPUTS = (IDS, "attention_mask", "token_type_ids")

QUESTION = Kind(
    "question",
    "DPRQuestionEncoder",
    _ENCODER_INPUTS,
    ("pooler_output",),
    (),
    DPRQuestionEncoderOutput,
    _mask_padding,
    ("question",),
)
CONTEXT = Kind(
    "context",
    "DPRContextEncoder",
    _ENCODER_INPUTS,
    ("pooler_output",),
    (),
    DPRContextEncoderOutput,
    _mask_padding,
    ("title", "text"),
)
READER = Kind(
    "reader",
    "DPRReader",
    (IDS, "attention_mask"),
    ("start_logits", "end_logits", "relevance_logits"),
    ("start_logits", "end_logits"),
    DPRReaderOutput,
    _mask_nothing,
    ("question", "title", "text"),
)

KINDS = {kind.name: kind for kind in (QUESTION, CONTEXT, READER)}


def find_kind(architectures: list[str] | None) -> Kind:
    """Return the kind of the model that `architectures` of a `config.json` names.

    Raises:
        ValueError: it names none of the three kinds, or more than one.

    >>> find_kind(["DPRReader"]).name
    'reader'
    """
    found = [kind for kind in KINDS.values() if kind.architecture in (architectures or [])]
    if len(found) != 1:
        known = ", ".join(kind.architecture for kind in KINDS.values())
        raise ValueError(f"architectures in config.json is {architectures}, and must name exactly one of {known}")
    return found[0]
