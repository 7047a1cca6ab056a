"""Read the arguments of a model's call in every form that transformers accepts.

Besides arguments by position and by name, transformers' TensorFlow classes accept all of them in the first argument, as
a dictionary or as a list in their order: `model([input_ids, attention_mask])`. A list of rows of ids is still one
batch: the entries of a list of arguments have at least two dimensions, a row of ids has one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS, Kind
from dpr_export.models.optional_outputs import LENGTH_AXES, group_optional_outputs

OPTIONS = ("output_attentions", "output_hidden_states", "return_dict")


def collect_arguments(kind: Kind, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, whether they were given by name or within the first argument.

    Args:
        kind: the kind of model, which has the arguments' names and order.
        named: every argument of the call by name; None for one that was not given.

    Raises:
        TypeError: the dictionary or list in the first place holds an unknown argument, or one that was also given by
            name.

    >>> from dpr_export.models.kinds import READER
    >>> collect_arguments(READER, {"input_ids": {"attention_mask": [[1]], "input_ids": [[101]]}})
    {'input_ids': [[101]], 'attention_mask': [[1]]}
    """
    first = named[IDS]
    order = (*kind.inputs, EMBEDS)
    if isinstance(first, Mapping):
        held = dict(first)
    elif isinstance(first, list | tuple) and len(first) and all(each is None or _rank(each) > 1 for each in first):
        if len(first) > len(order):
            raise TypeError(f"input_ids is a list of {len(first)} arguments, and there are only {', '.join(order)}")
        held = dict(zip(order, first, strict=False))
    else:
        return dict(named)
    for name in held:
        if name not in (*order, *OPTIONS):
            raise TypeError(f"{kind.architecture} takes no {name!r}: only {', '.join((*order, *OPTIONS))}")
        if name != IDS and named.get(name) is not None:
            raise TypeError(f"{name} is given twice: by name, and within the first argument")
    return {**named, IDS: None, **held}


def _rank(value: Any) -> int:
    """Return how many dimensions an array, a tensor or nested lists have."""
    if isinstance(value, list | tuple):
        return 1 + (_rank(value[0]) if value else 0)
    return int(getattr(value, "ndim", 0))


def select_optional_outputs(
    config: DPRConfig, output_names: Sequence[str], call: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Return the hidden states and attentions that a call requests: each field, with the graph's names of its outputs.

    Args:
        config: the configuration, which decides where the call does not.
        output_names: the graph's outputs.
        call: the call's arguments by name.

    Raises:
        ValueError: one is requested that the graph does not have.
    """
    requested = [field for field in LENGTH_AXES if get_option(config, f"output_{field}", call)]
    if not requested:
        return {}
    available = group_optional_outputs(output_names)
    for field in requested:
        if field not in available:
            raise ValueError(
                f"output_{field} is True, and this folder's graph has no {field}: export the checkpoint with "
                f"--output-{field.replace('_', '-')}"
            )
    return {field: available[field] for field in requested}


def get_option(config: DPRConfig, name: str, call: Mapping[str, Any]) -> bool:
    """Return an option of a call, or the configuration's value if the call does not give it."""
    value = call.get(name)
    return bool(getattr(config, name) if value is None else value)
