"""Check what a model is called with, once, before any engine sees it.

Engines do not agree on bad input: one returns numbers for an id past the vocabulary, another takes -1, a third ends the
process. Here every fault is one ValueError or IndexError that names the argument, the value and the bound.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS, Kind
from dpr_export.models.torch_interop import to_numpy
from dpr_export.runtime.engines.session import Feeds

_BOUNDS = {
    "input_ids": ("vocabulary", "vocab_size"),
    "token_type_ids": ("table of token types", "type_vocab_size"),
}


def checked_feeds(
    kind: Kind,
    config: DPRConfig,
    input_ids: Any = None,
    attention_mask: Any = None,
    token_type_ids: Any = None,
    inputs_embeds: Any = None,
) -> Feeds:
    """Turn a call's arguments into the graph's inputs.

    Args:
        kind: which inputs the graph takes, and the mask where none is given.
        config: the bounds: vocabulary, token types, positions.
        input_ids: integers (batch, sequence): a list, a NumPy array or a torch tensor, as the next three.
        attention_mask: zeros and ones of any type (batch, sequence), or None.
        token_type_ids: integers (batch, sequence), or None for zeros.
        inputs_embeds: floats (batch, sequence, hidden) in place of input_ids, or None.

    Returns:
        int64 (batch, sequence) for each of `kind.inputs`; float32 (batch, sequence, hidden) for inputs_embeds, which
        then stand in the place of input_ids.

    Raises:
        ValueError: a wrong type, rank, shape, length or mask value; or both input_ids and inputs_embeds, or neither.
        IndexError: an id that is not in the vocabulary, or a token type that the model has not.
    """
    if input_ids is not None and inputs_embeds is not None:
        raise ValueError("You cannot specify both input_ids and inputs_embeds at the same time")
    if input_ids is None and inputs_embeds is None:
        raise ValueError("You have to specify either input_ids or inputs_embeds")
    name: str
    tokens: NDArray[Any]
    if inputs_embeds is None:
        name, tokens = IDS, _integers(IDS, input_ids, config)
        default = kind.default_mask(tokens, 0 if config.pad_token_id is None else config.pad_token_id)
    else:
        name, tokens = EMBEDS, _embeddings(inputs_embeds, config)
        default = np.ones(tokens.shape[:2], np.int64)
    types = np.zeros_like(default) if token_type_ids is None else _integers("token_type_ids", token_type_ids, config)
    mask = default if attention_mask is None else _zeros_and_ones(attention_mask)
    values = {name: tokens, "attention_mask": mask, "token_type_ids": types}
    for other, array in values.items():
        if array.shape[:2] != tokens.shape[:2]:
            raise ValueError(f"{other} has shape {array.shape}, and {name} has {tokens.shape}")
    return {key: values[key] for key in (name, *kind.inputs[1:])}


def _array(name: str, value: Any, axes: tuple[str, ...] = ("batch", "sequence")) -> NDArray[Any]:
    try:
        array = to_numpy(value)
    except (ValueError, TypeError, RuntimeError, AttributeError, BufferError) as error:
        raise ValueError(f"{name} is no array: {' '.join(str(error).split())}") from None
    if array.dtype == object:
        raise ValueError(f"{name} has rows of different lengths, or holds no numbers: pad it (padding=True)")
    if array.ndim != len(axes):
        raise ValueError(f"{name} has shape {array.shape}, and must have {len(axes)} dimensions: ({', '.join(axes)})")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: at least one row and one token are needed")
    return array


def _integers(name: str, value: Any, config: DPRConfig) -> NDArray[np.int64]:
    array = _array(name, value)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has type {array.dtype}, and must hold integers")
    _check_length(name, array, config)
    table, entries = _BOUNDS[name][0], getattr(config, _BOUNDS[name][1])
    if array.min() < 0 or array.max() >= entries:
        row, column = np.argwhere((array < 0) | (array >= entries))[0]
        value = array[row, column]
        raise IndexError(
            f"{name}[{row}, {column}] is {value}, but the {table} has {entries} entries (0..{entries - 1})"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def _embeddings(value: Any, config: DPRConfig) -> NDArray[np.float32]:
    array = _array(EMBEDS, value, ("batch", "sequence", "hidden"))
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{EMBEDS} has type {array.dtype}, and must hold floats")
    if array.shape[2] != config.hidden_size:
        raise ValueError(f"{EMBEDS} has shape {array.shape}, and the model's hidden_size is {config.hidden_size}")
    _check_length(EMBEDS, array, config)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite there, as in the original
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_length(name: str, array: NDArray[Any], config: DPRConfig) -> None:
    positions = config.max_position_embeddings
    if array.shape[1] > positions:
        raise ValueError(
            f"{name} has {array.shape[1]} tokens a row, and the model has {positions} positions: "
            f"truncate it (truncation=True, max_length={positions})"
        )


def _zeros_and_ones(value: Any) -> NDArray[np.int64]:
    array = _array("attention_mask", value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"attention_mask has type {array.dtype}, and must hold numbers")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"attention_mask[{row}, {column}] is {array[row, column]}, and must be 0 or 1")
    return np.ascontiguousarray(array == 1, dtype=np.int64)
