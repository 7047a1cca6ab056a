"""Check a model's inputs before an engine sees them.

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
from dpr_export.runtime.inference.batching import TokenizedRows

_BOUNDS = {
    "input_ids": ("vocabulary", "vocab_size"),
    "token_type_ids": ("table of token types", "type_vocab_size"),
}


def check_inputs(
    kind: Kind,
    config: DPRConfig,
    input_ids: Any = None,
    attention_mask: Any = None,
    token_type_ids: Any = None,
    inputs_embeds: Any = None,
) -> Feeds:
    """Turn a call's arguments into the graph's inputs.

    Args:
        kind: the kind of model: its inputs, and its mask if none is given.
        config: the bounds: vocabulary, token types, positions.
        input_ids: integers (batch, sequence): a list, a NumPy array or a torch tensor, as the next three.
        attention_mask: zeros and ones of any type (batch, sequence), or None.
        token_type_ids: integers (batch, sequence), or None for zeros.
        inputs_embeds: floats (batch, sequence, hidden) in place of input_ids, or None.

    Returns:
        int64 (batch, sequence) for each of `kind.inputs`; with inputs_embeds, float32 (batch, sequence, hidden) in
        place of input_ids.

    Raises:
        ValueError: a wrong type, rank, shape, length or mask value; or both input_ids and inputs_embeds, or neither.
        IndexError: an id outside the vocabulary, or an unknown token type.
    """
    if input_ids is not None and inputs_embeds is not None:
        raise ValueError("You cannot specify both input_ids and inputs_embeds at the same time")
    if input_ids is None and inputs_embeds is None:
        raise ValueError("You have to specify either input_ids or inputs_embeds")
    values: dict[str, NDArray[Any]] = {}
    if inputs_embeds is None:
        name, values[IDS] = IDS, (ids := _check_integers(IDS, input_ids, config))
        if attention_mask is None:
            values["attention_mask"] = kind.default_mask(ids, config.pad_token_id or 0)
    else:
        name, values[EMBEDS] = EMBEDS, _check_embeddings(inputs_embeds, config)
    if attention_mask is not None:
        values["attention_mask"] = _check_mask(attention_mask)
    if token_type_ids is not None:
        values["token_type_ids"] = _check_integers("token_type_ids", token_type_ids, config)
    feeds: Feeds = {}
    shape = values[name].shape
    for key in (name, *kind.inputs[1:]):
        default = np.ones if key == "attention_mask" else np.zeros
        feeds[key] = array = values[key] if key in values else default(shape[:2], np.int64)
        if array.shape[:2] != shape[:2]:
            raise ValueError(f"{key} has shape {array.shape}, and {name} has {shape}")
    return feeds


def check_rows(config: DPRConfig, rows: TokenizedRows) -> TokenizedRows:
    """Check the largest id and token type of rows from the model's own tokenizer, and return the rows.

    The tokenizer's size is checked when the model is loaded, but tokens may be added to it later.

    Raises:
        IndexError: an id outside the vocabulary, or an unknown token type.
    """
    for name, column in (("input_ids", rows.input_ids), ("token_type_ids", rows.token_type_ids)):
        table, entries = _BOUNDS[name][0], getattr(config, _BOUNDS[name][1])
        if column and (largest := max(map(max, column))) >= entries:
            raise IndexError(f"{name} has {largest}, but the {table} has {entries} entries (0..{entries - 1})")
    return rows


def _read_array(name: str, value: Any, axes: tuple[str, ...] = ("batch", "sequence")) -> NDArray[Any]:
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


def _check_integers(name: str, value: Any, config: DPRConfig) -> NDArray[np.int64]:
    array = _read_array(name, value)
    if array.dtype.kind not in "iu":
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


def _check_embeddings(value: Any, config: DPRConfig) -> NDArray[np.float32]:
    array = _read_array(EMBEDS, value, ("batch", "sequence", "hidden"))
    if array.dtype.kind != "f":
        raise ValueError(f"{EMBEDS} has type {array.dtype}, and must hold floats")
    if array.shape[2] != config.hidden_size:
        raise ValueError(f"{EMBEDS} has shape {array.shape}, and the model's hidden_size is {config.hidden_size}")
    _check_length(EMBEDS, array, config)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, as in PyTorch
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_length(name: str, array: NDArray[Any], config: DPRConfig) -> None:
    positions = config.max_position_embeddings
    if array.shape[1] > positions:
        raise ValueError(
            f"{name} has {array.shape[1]} tokens a row, and the model has {positions} positions: "
            f"truncate it (truncation=True, max_length={positions})"
        )


def _check_mask(value: Any) -> NDArray[np.int64]:
    array = _read_array("attention_mask", value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"attention_mask has type {array.dtype}, and must hold numbers")
    ones = array == 1
    if not (ones | (array == 0)).all():
        row, column = np.argwhere(~(ones | (array == 0)))[0]
        raise ValueError(f"attention_mask[{row}, {column}] is {array[row, column]}, and must be 0 or 1")
    return np.ascontiguousarray(ones, dtype=np.int64)
