"""The original's call: its arguments in each form that programs give them, and what they ask for.

Besides arguments by place and by name, the original's TensorFlow classes take all of them in the first: a dictionary,
or a list in their order, `model([input_ids, attention_mask])`. A list of rows of ids is a batch, as ever; what tells
them apart is that a row has no rows of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS, Kind
from dpr_export.models.optional_outputs import LENGTH_AXES, group_optional_outputs

OPTIONS = ("output_attentions", "output_hidden_states", "return_dict")


def arguments(kind: Kind, named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, wherever they were given.

    Args:
        kind: which arguments there are, and in which order.
        named: every argument of the call by name; None is one that was not given.

    Raises:
        TypeError: the dictionary or list in the first place holds an argument that there is not, or one that was
            given by name too.

    >>> from dpr_export.models.kinds import READER
    >>> arguments(READER, {"input_ids": {"input_ids": [[101]], "attention_mask": [[1]]}, "attention_mask": None})
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
    """How many dimensions an array, a tensor or nested lists have."""
    if isinstance(value, list | tuple):
        return 1 + (_rank(value[0]) if value else 0)
    return int(getattr(value, "ndim", 0))


def wanted_extras(
    config: DPRConfig, output_names: Sequence[str], asked: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """The extra outputs that a call wants, by field, each with the graph's names of them.

    Args:
        config: what is wanted where the call does not say.
        output_names: what the graph gives.
        asked: the call's `output_hidden_states` and `output_attentions`; None: as the configuration has it.

    Raises:
        ValueError: the graph does not give one that is wanted.
    """
    there, wanted = group_optional_outputs(output_names), {}
    for field in LENGTH_AXES:
        option = f"output_{field}"
        if not option_of(config, option, asked):
            continue
        if field not in there:
            raise ValueError(
                f"{option} is True, and this folder's graph gives no {field}: export the checkpoint with "
                f"--{option.replace('_', '-')}"
            )
        wanted[field] = there[field]
    return wanted


def option_of(config: DPRConfig, name: str, asked: Mapping[str, Any]) -> bool:
    """An option of a call, which the configuration has where the call does not say."""
    value = asked.get(name)
    return bool(getattr(config, name) if value is None else value)
