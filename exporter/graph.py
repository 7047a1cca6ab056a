"""The modules that are traced: the original's weights, computed in the order that makes the cleanest graph.

Nothing here is the original's forward pass. The layers are walked by hand, so that every release of transformers gives
the same graph, and so that an encoder's last layer can be computed for the [CLS] row alone: `pooler_output` reads no
other row, and the last layer's keys and values are all it needs from them. `prove.py` compares the result with the
original's own forward pass.

Left out: dropout (a model in use has none), output of hidden states and attentions.
"""

from typing import Any

import torch
from torch import Tensor, nn


def additive_mask(attention_mask: Tensor) -> Tensor:
    """Turn a mask of ones and zeros, (batch, sequence), into (batch, 1, 1, sequence) to add to attention scores.

    A masked score becomes float32's least number, as in the original's eager attention: a row with everything masked
    attends evenly, and stays finite.
    """
    blocked = 1.0 - attention_mask[:, None, None, :].to(torch.float32)
    return blocked * torch.finfo(torch.float32).min


def attend(layer: Any, queries: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
    """One BERT layer: the rows `queries` (batch, rows, hidden) attend to all of `hidden` (batch, sequence, hidden)."""
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
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2)
    mixed = mixed.reshape(queries.shape[0], queries.shape[1], heads * width)
    attended = layer.attention.output(mixed, queries)
    result: Tensor = layer.output(layer.intermediate(attended), attended)
    return result


class EncoderGraph(nn.Module):
    """A question or context encoder: ids, mask and token types to `pooler_output` (batch, dim)."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder: Any = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        bert = self.encoder.bert_model
        hidden = bert.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        mask = additive_mask(attention_mask)
        *layers, last = bert.encoder.layer
        for layer in layers:
            hidden = attend(layer, hidden, hidden, mask)
        vector = attend(last, hidden[:, :1], hidden, mask)[:, 0]
        if self.encoder.projection_dim > 0:
            vector = self.encoder.encode_proj(vector)
        return vector


class ReaderGraph(nn.Module):
    """A reader: ids and mask to start and end logits (passages, sequence) and relevance logits (passages,)."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.predictor: Any = predictor

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bert = self.predictor.encoder.bert_model
        hidden = bert.embeddings(input_ids=input_ids, token_type_ids=torch.zeros_like(input_ids))
        mask = additive_mask(attention_mask)
        for layer in bert.encoder.layer:
            hidden = attend(layer, hidden, hidden, mask)
        logits = self.predictor.qa_outputs(hidden)
        return logits[..., 0], logits[..., 1], self.predictor.qa_classifier(hidden[:, 0])[:, 0]


def graph_of(model: nn.Module) -> nn.Module:
    """The module to trace for a DPR model of any kind."""
    for attribute, graph in (
        ("question_encoder", EncoderGraph),
        ("ctx_encoder", EncoderGraph),
        ("span_predictor", ReaderGraph),
    ):
        if hasattr(model, attribute):
            return graph(getattr(model, attribute)).eval()
    raise ValueError(f"{type(model).__name__} is not a DPR model")
