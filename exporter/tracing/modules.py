"""The modules that are traced: the original's weights, computed in the order that makes the cleanest graph.

Nothing here is the original's forward pass. The layers are walked by hand, so that every release of transformers gives
the same graph, and so that an encoder's last layer can be computed for the [CLS] row alone: `pooler_output` reads no
other row, and the last layer's keys and values are all it needs from them. `prove.py` compares the result with the
original's own forward pass.

A graph that gives hidden states or attentions computes its last layer whole, since those are of every row. One that
takes embeddings in place of ids differs in its first step alone.

Left out: dropout (a model in use has none).
"""

from typing import Any

import torch
from torch import Tensor, nn

from dpr_export.models.optional_outputs import OptionalOutputs


def additive_mask(attention_mask: Tensor) -> Tensor:
    """Turn a mask of ones and zeros, (batch, sequence), into (batch, 1, 1, sequence) to add to attention scores.

    A masked score becomes float32's least number, as in the original's eager attention: a row with everything masked
    attends evenly, and stays finite.
    """
    blocked = 1.0 - attention_mask[:, None, None, :].to(torch.float32)
    return blocked * torch.finfo(torch.float32).min


def attend(layer: Any, queries: Tensor, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """One BERT layer: the rows `queries` (batch, rows, hidden) attend to all of `hidden` (batch, sequence, hidden).

    Returns:
        The rows (batch, rows, hidden), and what they attended to (batch, heads, rows, sequence).
    """
    attention = layer.attention.self
    heads, width = attention.num_attention_heads, attention.attention_head_size

    def by_head(rows: Tensor) -> Tensor:
        return rows.view(rows.shape[0], rows.shape[1], heads, width).transpose(1, 2)

    query, key, value = (
        by_head(projection(rows))
        for projection, rows in (
            (attention.query, queries),
            (attention.key, hidden),
            (attention.value, hidden),
        )
    )
    scores = torch.matmul(query, key.transpose(2, 3)) * width**-0.5 + mask
    probabilities = torch.softmax(scores, dim=-1)
    mixed = torch.matmul(probabilities, value).transpose(1, 2)
    mixed = mixed.reshape(queries.shape[0], queries.shape[1], heads * width)
    attended = layer.attention.output(mixed, queries)
    return layer.output(layer.intermediate(attended), attended), probabilities


class _Layers(nn.Module):
    """What both graphs share: tokens to the hidden states of every layer."""

    def __init__(self, bert: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__()
        self.bert: Any = bert
        self.optional_outputs = optional_outputs

    def embedded(self, tokens: Tensor, token_type_ids: Tensor) -> Tensor:
        """The embeddings (batch, sequence, hidden) of ids (batch, sequence), or of their words' embeddings."""
        given = {"inputs_embeds" if tokens.is_floating_point() else "input_ids": tokens}
        result: Tensor = self.bert.embeddings(token_type_ids=token_type_ids, **given)
        return result

    def through(self, layers: Any, hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The hidden states before and after each layer, and what each attended to."""
        states, attentions = [hidden], []
        for layer in layers:
            state, probabilities = attend(layer, states[-1], states[-1], mask)
            states.append(state)
            attentions.append(probabilities)
        return states, attentions

    def extra(self, states: list[Tensor], attentions: list[Tensor]) -> tuple[Tensor, ...]:
        """Those that were asked for, in the order of `OptionalOutputs.names`."""
        every = {"hidden_states": states, "attentions": attentions}
        return tuple(tensor for field in self.optional_outputs.fields for tensor in every[field])


class EncoderGraph(_Layers):
    """A question or context encoder: tokens, mask and token types to `pooler_output` (batch, dim)."""

    def __init__(self, encoder: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__(encoder.bert_model, optional_outputs)
        self.encoder: Any = encoder

    def forward(self, tokens: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, ...]:
        mask = additive_mask(attention_mask)
        layers = list(self.bert.encoder.layer)  # a slice of the module's own list would name its layers anew
        whole = layers if self.optional_outputs else layers[:-1]
        states, attentions = self.through(whole, self.embedded(tokens, token_type_ids), mask)
        rows = states[-1] if self.optional_outputs else attend(layers[-1], states[-1][:, :1], states[-1], mask)[0]
        vector = rows[:, 0]
        if self.encoder.projection_dim > 0:
            vector = self.encoder.encode_proj(vector)
        return vector, *self.extra(states, attentions)


class ReaderGraph(_Layers):
    """A reader: tokens and mask to start and end logits (passages, sequence) and relevance logits (passages,)."""

    def __init__(self, predictor: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__(predictor.encoder.bert_model, optional_outputs)
        self.predictor: Any = predictor

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        hidden = self.embedded(tokens, torch.zeros_like(attention_mask))
        states, attentions = self.through(self.bert.encoder.layer, hidden, additive_mask(attention_mask))
        logits = self.predictor.qa_outputs(states[-1])
        relevance = self.predictor.qa_classifier(states[-1][:, 0])[:, 0]
        return logits[..., 0], logits[..., 1], relevance, *self.extra(states, attentions)


def graph_of(model: nn.Module, optional_outputs: OptionalOutputs) -> nn.Module:
    """The module to trace for a DPR model of any kind."""
    for attribute, graph in (
        ("question_encoder", EncoderGraph),
        ("ctx_encoder", EncoderGraph),
        ("span_predictor", ReaderGraph),
    ):
        if hasattr(model, attribute):
            return graph(getattr(model, attribute), optional_outputs).eval()
    raise ValueError(f"{type(model).__name__} is not a DPR model")
