"""The table of the three kinds of DPR model: class, inputs, outputs, default attention mask, tokenizer's columns.

The tokenizer classes are in `tokenization/by_kind.py`, so that a manifest is read without loading tokenizers.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.outputs import DPRContextEncoderOutput, DPRQuestionEncoderOutput, DPRReaderOutput, ModelOutput


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of DPR model."""

    name: str  # "question", "context" or "reader"
    title: str  # the name for people
    architecture: str  # the class in `architectures` of `config.json`
    encoder: str  # the attribute of that class in transformers that holds BERT (`bert_model`) and its projection
    inputs: tuple[str, ...]  # the inputs of the graph, int64 (batch, sequence)
    outputs: tuple[str, ...]  # the outputs of the graph, float32
    token_outputs: tuple[str, ...]  # the outputs of shape (batch, sequence)
    output_class: type[ModelOutput]  # the dataclass of the outputs
    masks_padding: bool  # whether a call without an attention mask masks padding
    columns: tuple[str, ...]  # the arguments of its tokenizer in their order, of question, title and text

    def default_mask(self, input_ids: NDArray[np.int64], pad_token_id: int) -> NDArray[np.int64]:
        """Return the attention mask of a call without one."""
        return np.asarray(input_ids != pad_token_id, np.int64) if self.masks_padding else np.ones_like(input_ids)


IDS, EMBEDS = "input_ids", "inputs_embeds"  # the first input of a graph: token ids, or word embeddings

QUESTION = Kind(
    name="question",
    title="question encoder",
    architecture="DPRQuestionEncoder",
    encoder="question_encoder",
    inputs=(IDS, "attention_mask", "token_type_ids"),
    outputs=("pooler_output",),
    token_outputs=(),
    output_class=DPRQuestionEncoderOutput,
    masks_padding=True,
    columns=("question",),
)
CONTEXT = replace(
    QUESTION,
    name="context",
    title="context encoder",
    architecture="DPRContextEncoder",
    encoder="ctx_encoder",
    output_class=DPRContextEncoderOutput,
    columns=("title", "text"),
)
READER = Kind(
    name="reader",
    title="reader",
    architecture="DPRReader",
    encoder="span_predictor.encoder",
    inputs=(IDS, "attention_mask"),
    outputs=("start_logits", "end_logits", "relevance_logits"),
    token_outputs=("start_logits", "end_logits"),
    output_class=DPRReaderOutput,
    masks_padding=False,
    columns=("question", "title", "text"),
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
