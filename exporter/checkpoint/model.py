"""Build the transformers model of a kind, with random weights: what it makes of its hidden states is configurable.

DPR takes the vector of [CLS]. Other encoders take BERT's pooler or the mean of the tokens, and some normalize. The
formulas here are BERT's and sentence-transformers' own, to compare the traced graph with.
"""

from typing import Any

import torch
from torch import Tensor

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import READER, Kind
from dpr_export.models.telemetry import no_telemetry

with no_telemetry():
    import transformers
    from transformers.models.bert import modeling_bert
    from transformers.models.dpr import modeling_dpr

DPREncoder: Any = modeling_dpr.DPREncoder  # Any, since transformers annotates only a part of its code
BertPooler: Any = modeling_bert.BertPooler


class PooledEncoder(DPREncoder):  # type: ignore[misc]
    """transformers' DPREncoder with another pooling, or with normalized vectors."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if config.pooling == "pooler":
            self.pooler = BertPooler(config)

    def forward(self, *arguments: Any, attention_mask: Tensor, return_dict: bool, **options: Any) -> Any:
        outputs = super().forward(*arguments, attention_mask=attention_mask, return_dict=True, **options)
        vectors = self._pool(outputs.last_hidden_state, attention_mask)
        if self.projection_dim > 0:
            vectors = self.encode_proj(vectors)
        if self.config.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        outputs.pooler_output = vectors
        return outputs if return_dict else outputs.to_tuple()

    def _pool(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """Reduce hidden states (batch, sequence, hidden) to vectors (batch, hidden)."""
        if self.config.pooling == "cls":
            return hidden[:, 0]
        if self.config.pooling == "pooler":
            pooled: Tensor = self.pooler(hidden)
            return pooled
        mask = attention_mask.unsqueeze(-1).expand(hidden.size()).to(hidden.dtype)
        return torch.sum(hidden * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)


def build_model(kind: Kind, config: DPRConfig) -> torch.nn.Module:
    """Build a model in float32 and evaluation mode, with eager attention.

    Raises:
        ValueError: heads do not divide the hidden size, or a reader has another pooling than [CLS].
        KeyError: an unknown activation.
    """
    values = transformers.DPRConfig.from_dict(config.to_dict(), attn_implementation="eager")
    model: torch.nn.Module = getattr(transformers, kind.architecture)(values)
    if (config.pooling, config.normalize) != ("cls", False):
        if kind is READER:
            raise ValueError(f"pooling is {config.pooling!r} and normalize {config.normalize}, which no reader has")
        values.pooling, values.normalize = config.pooling, config.normalize
        setattr(model, kind.encoder, PooledEncoder(values))
    return model.float().eval()
