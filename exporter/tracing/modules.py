"""The modules that are traced: the weights of a transformers model, with a forward pass of our own.

So every release of transformers gives the same graph, and an encoder's last layer is computed for the [CLS] row alone,
the only one that `pooler_output` reads, unless the graph returns hidden states or attentions, or the vector is the mean
of all rows. Dropout is left out.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dpr_export.models.optional_outputs import OptionalOutputs


def additive_mask(attention_mask: Tensor) -> Tensor:
    """Turn a mask of ones and zeros, (batch, sequence), into one (batch, 1, 1, sequence) to add to attention scores.

    A masked position gets float32's minimum, as in transformers, so that a fully masked row stays finite.
    """
    blocked = 1.0 - attention_mask[:, None, None, :].to(torch.float32)
    return blocked * torch.finfo(torch.float32).min


def attend(layer: Any, queries: Tensor, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one BERT layer for some rows.

    Args:
        layer: transformers' layer.
        queries: the rows to compute, (batch, rows, hidden).
        hidden: the rows that they attend to, (batch, sequence, hidden).
        mask: as `additive_mask` returns it.

    Returns:
        The new rows (batch, rows, hidden), and their attention probabilities (batch, heads, rows, sequence).
    """
    attention = layer.attention.self
    heads, width = attention.num_attention_heads, attention.attention_head_size

    def by_head(rows: Tensor) -> Tensor:
        return rows.view(rows.shape[0], rows.shape[1], heads, width).transpose(1, 2)

    query, key, value = (
        by_head(projected) for projected in (attention.query(queries), attention.key(hidden), attention.value(hidden))
    )
    scores = torch.matmul(query, key.transpose(2, 3)) * width**-0.5 + mask
    probabilities = torch.softmax(scores, dim=-1)
    mixed = torch.matmul(probabilities, value).transpose(1, 2)
    mixed = mixed.reshape(queries.shape[0], queries.shape[1], heads * width)
    attended = layer.attention.output(mixed, queries)
    return layer.output(layer.intermediate(attended), attended), probabilities


class _Layers(nn.Module):
    """The part that both graphs share: from tokens to the hidden states of every layer."""

    def __init__(self, bert: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__()
        self.bert: Any = bert
        self.optional_outputs = optional_outputs

    def embed(self, tokens: Tensor, token_type_ids: Tensor) -> Tensor:
        """The first hidden states (batch, sequence, hidden) of input_ids (batch, sequence), or of inputs_embeds."""
        inputs = {"inputs_embeds" if tokens.is_floating_point() else "input_ids": tokens}
        result: Tensor = self.bert.embeddings(token_type_ids=token_type_ids, **inputs)
        return result

    def run_layers(self, layers: Any, hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The hidden states before and after each layer, and each layer's attention probabilities."""
        states, attentions = [hidden], []
        for layer in layers:
            state, probabilities = attend(layer, states[-1], states[-1], mask)
            states.append(state)
            attentions.append(probabilities)
        return states, attentions

    def select_optional(self, states: list[Tensor], attentions: list[Tensor]) -> tuple[Tensor, ...]:
        """The optional outputs that the graph returns, in the order of `OptionalOutputs.names`."""
        every = {"hidden_states": states, "attentions": attentions}
        return tuple(tensor for field in self.optional_outputs.fields for tensor in every[field])


class Mean(nn.Module):
    """The mean of the rows whose mask is one; zeros where none is. fp16 variants compute it in float32."""

    def forward(self, rows: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].to(torch.float32)
        return (rows * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


class Normalization(nn.Module):
    """Divide each vector by its length. fp16 variants compute it in float32."""

    def forward(self, vectors: Tensor) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        return vectors / lengths.clamp(min=1e-12)


class EncoderGraph(_Layers):
    """A question or context encoder: tokens, mask and token types to `pooler_output` (batch, dim)."""

    def __init__(self, encoder: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__(encoder.bert_model, optional_outputs)
        self.encoder: Any = encoder
        # A configuration of transformers has these two only where they are not DPR's.
        self.pooling = getattr(encoder.config, "pooling", "cls")
        self.normalize = getattr(encoder.config, "normalize", False)
        self.reads_all_rows = bool(optional_outputs) or self.pooling == "mean"
        self.mean, self.normalization = Mean(), Normalization()

    def forward(self, tokens: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, ...]:
        mask = additive_mask(attention_mask)
        layers = list(self.bert.encoder.layer)  # a slice of the ModuleList would rename its layers
        whole = layers if self.reads_all_rows else layers[:-1]
        states, attentions = self.run_layers(whole, self.embed(tokens, token_type_ids), mask)
        rows = states[-1] if self.reads_all_rows else attend(layers[-1], states[-1][:, :1], states[-1], mask)[0]
        vector = self.pool(rows, attention_mask)
        if self.encoder.projection_dim > 0:
            vector = self.encoder.encode_proj(vector)
        if self.normalize:
            vector = self.normalization(vector)
        return vector, *self.select_optional(states, attentions)

    def pool(self, rows: Tensor, attention_mask: Tensor) -> Tensor:
        """Reduce the last hidden states, (batch, rows, hidden), to vectors (batch, hidden)."""
        if self.pooling == "mean":
            pooled: Tensor = self.mean(rows, attention_mask)
            return pooled
        first = rows[:, 0]
        return torch.tanh(self.encoder.pooler.dense(first)) if self.pooling == "pooler" else first


class ReaderGraph(_Layers):
    """A reader: tokens and mask to start and end logits (passages, sequence) and relevance logits (passages,)."""

    def __init__(self, predictor: Any, optional_outputs: OptionalOutputs) -> None:
        super().__init__(predictor.encoder.bert_model, optional_outputs)
        self.predictor: Any = predictor

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        hidden = self.embed(tokens, torch.zeros_like(attention_mask))
        states, attentions = self.run_layers(self.bert.encoder.layer, hidden, additive_mask(attention_mask))
        logits = self.predictor.qa_outputs(states[-1])
        relevance = self.predictor.qa_classifier(states[-1][:, 0])[:, 0]
        return logits[..., 0], logits[..., 1], relevance, *self.select_optional(states, attentions)


def graph_module(model: Any, optional_outputs: OptionalOutputs) -> nn.Module:
    """The module to trace for a transformers DPR model."""
    graph = ReaderGraph if hasattr(model, "span_predictor") else EncoderGraph
    return graph(model.base_model, optional_outputs).eval()
