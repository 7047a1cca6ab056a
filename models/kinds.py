"""The three kinds of DPR model, as a table of three rows.

A row names the class, the inputs, the outputs, and the attention mask that applies when a call gives none: encoders
mask padding (`input_ids != pad`), the reader masks nothing, as in transformers. Which tokenizer a kind uses stands in
`tokenization/by_kind.py`, so that the exported folder can name a kind without loading tokenizers.
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


def _all_but_padding(input_ids: Ids, pad_token_id: int) -> Ids:
    return np.asarray(input_ids != pad_token_id, dtype=np.int64)


def _everything(input_ids: Ids, pad_token_id: int) -> Ids:  # noqa: ARG001 (one signature for both masks)
    return np.ones_like(input_ids)


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of DPR model is called, takes and returns.

    Attributes:
        name: "question", "context" or "reader".
        architecture: the class named in the `architectures` of `config.json`.
        inputs: the graph's inputs, int64 (batch, sequence).
        outputs: the graph's outputs, float32.
        token_outputs: those of them with a number for each token.
        output_class: the dataclass that the outputs are returned in.
        default_mask: (input_ids, pad_token_id) -> the attention mask where none is given.
        columns: which of question, title and text the tokenizer takes, in its order.
    """

    name: str
    architecture: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    token_outputs: tuple[str, ...]
    output_class: type[ModelOutput]
    default_mask: Callable[[Ids, int], Ids]
    columns: tuple[str, ...]


IDS, EMBEDS = "input_ids", "inputs_embeds"  # what a graph's first input is: tokens, or their words' embeddings

_ENCODER_INPUTS = (IDS, "attention_mask", "token_type_ids")

QUESTION = Kind(
    "question",
    "DPRQuestionEncoder",
    _ENCODER_INPUTS,
    ("pooler_output",),
    (),
    DPRQuestionEncoderOutput,
    _all_but_padding,
    ("question",),
)
CONTEXT = Kind(
    "context",
    "DPRContextEncoder",
    _ENCODER_INPUTS,
    ("pooler_output",),
    (),
    DPRContextEncoderOutput,
    _all_but_padding,
    ("title", "text"),
)
READER = Kind(
    "reader",
    "DPRReader",
    (IDS, "attention_mask"),
    ("start_logits", "end_logits", "relevance_logits"),
    ("start_logits", "end_logits"),
    DPRReaderOutput,
    _everything,
    ("question", "title", "text"),
)

KINDS = {kind.name: kind for kind in (QUESTION, CONTEXT, READER)}


def find_kind(architectures: list[str] | None) -> Kind:
    """The kind that a `config.json` names.

    Raises:
        ValueError: `architectures` names none of the three, or more than one.

    >>> find_kind(["DPRReader"]).name
    'reader'
    """
    found = [kind for kind in KINDS.values() if kind.architecture in (architectures or [])]
    if len(found) != 1:
        known = ", ".join(kind.architecture for kind in KINDS.values())
        raise ValueError(f"architectures in config.json is {architectures}, which names not exactly one of {known}")
    return found[0]
