"""Check what a model is called with, once, before any engine sees it.

Engines do not agree on bad input: one returns numbers for an id past the vocabulary, another takes -1, a third ends the
process. Here every fault is one ValueError or IndexError that names the argument, the value and the bound.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import Kind
from dpr_export.models.tensors import to_numpy
from dpr_export.runtime.session import Feeds

_BOUNDS = {
    "input_ids": ("vocabulary", "vocab_size"),
    "token_type_ids": ("table of token types", "type_vocab_size"),
}


def checked_feeds(
    kind: Kind, config: DPRConfig, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None
) -> Feeds:
    """Turn a call's arguments into the graph's inputs.

    Args:
        kind: which inputs the graph takes, and the mask where none is given.
        config: the bounds: vocabulary, token types, positions.
        input_ids: integers (batch, sequence): a list, a NumPy array or a torch tensor, as the next two.
        attention_mask: zeros and ones of any type (batch, sequence), or None.
        token_type_ids: integers (batch, sequence), or None for zeros.

    Returns:
        int64 (batch, sequence) for each of `kind.inputs`.

    Raises:
        ValueError: a wrong type, rank, shape, length or mask value.
        IndexError: an id that is not in the vocabulary, or a token type that the model has not.
    """
    ids = _integers("input_ids", input_ids, config)
    types = np.zeros_like(ids) if token_type_ids is None else _integers("token_type_ids", token_type_ids, config)
    if attention_mask is None:
        mask = kind.default_mask(ids, 0 if config.pad_token_id is None else config.pad_token_id)
    else:
        mask = _zeros_and_ones(attention_mask)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    for name, array in values.items():
        if array.shape != ids.shape:
            raise ValueError(f"{name} has shape {array.shape}, and input_ids has {ids.shape}")
    return {name: values[name] for name in kind.inputs}


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = to_numpy(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is no array: {error}") from None
    if array.dtype == object:
        raise ValueError(f"{name} has rows of different lengths, or holds no numbers: pad it (padding=True)")
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, and must have two dimensions: (batch, sequence)")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: at least one row and one token are needed")
    return array


def _integers(name: str, value: Any, config: DPRConfig) -> NDArray[np.int64]:
    array = _array(name, value)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has type {array.dtype}, and must hold integers")
    positions = config.max_position_embeddings
    if array.shape[1] > positions:
        raise ValueError(
            f"{name} has {array.shape[1]} tokens a row, and the model has {positions} positions: "
            f"truncate it (truncation=True, max_length={positions})"
        )
    table, entries = _BOUNDS[name][0], getattr(config, _BOUNDS[name][1])
    if array.min() < 0 or array.max() >= entries:
        row, column = np.argwhere((array < 0) | (array >= entries))[0]
        value = array[row, column]
        raise IndexError(
            f"{name}[{row}, {column}] is {value}, but the {table} has {entries} entries (0..{entries - 1})"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def _zeros_and_ones(value: Any) -> NDArray[np.int64]:
    array = _array("attention_mask", value)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"attention_mask[{row}, {column}] is {array[row, column]}, and must be 0 or 1")
    return np.ascontiguousarray(array, dtype=np.int64)
