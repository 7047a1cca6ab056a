"""What a call of a BERT model has to compute and read, counted from its configuration."""

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import READER


def multiply_adds(config: DPRConfig, kind: str, batch: int, length: int) -> int:
    """Of one call: linear layers, heads, and attention's two products."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens = batch * length
    row = 4 * hidden * hidden + 2 * hidden * inner + 2 * length * hidden  # one row of one layer
    if kind == READER.name:
        return layers * tokens * row + tokens * 2 * hidden + batch * hidden
    keys_and_values = 2 * hidden * hidden
    last = tokens * keys_and_values + batch * (row - keys_and_values)
    return (layers - 1) * tokens * row + last + batch * hidden * config.projection_dim


def weight_bytes(config: DPRConfig) -> int:
    """Of the linear layers in INT8, which every call reads whole; of the embeddings it reads a few rows."""
    return config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
