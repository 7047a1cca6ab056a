"""Functions on rows of token ids: how two sequences are truncated, and how rows are padded.

They take and return lists. transformers sets truncation and padding on its tokenizer for each call; here no call
changes the tokenizer, so that threads can share one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

STRATEGIES = {
    "truncation": ("longest_first", "only_first", "only_second", "do_not_truncate"),
    "padding": ("longest", "max_length", "do_not_pad"),
}
# The value of a padding token in each column. In input_ids it is the tokenizer's pad_token_id.
PADDING = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}


def find_strategy(argument: str, value: bool | str | None) -> str:
    """Return the name of a strategy of `STRATEGIES`; True means the first name, False or truncation=None the last.

    >>> find_strategy("truncation", True), find_strategy("padding", False)
    ('longest_first', 'do_not_pad')
    """
    names = STRATEGIES[argument]
    if isinstance(value, bool) or (value is None and argument == "truncation"):
        return names[0] if value else names[-1]
    for name in names:
        if value == name:
            return name
    quoted = ", ".join(f'"{name}"' for name in names[:-1])
    raise ValueError(f'{argument} is {value!r}, but must be True, False, {quoted} or "{names[-1]}"')


def truncated_lengths(strategy: str, first: int, second: int | None, room: int) -> tuple[int, int]:
    """Return how many tokens of two sequences are kept so that they fit into `room` together.

    "longest_first" truncates the longer one until both are equal, then both. An odd token stays with the longer one,
    and with the second where both are equal. "only_first" and "only_second" must leave one token of the sequence that
    they truncate; with no room at all both become empty, whatever the strategy.

    >>> truncated_lengths("longest_first", 10, 3, room=8)
    (5, 3)
    >>> truncated_lengths("longest_first", 10, 10, room=7)
    (3, 4)

    Raises:
        ValueError: the sequence that the strategy truncates is missing or too short.
    """
    other = second or 0
    excess = first + other - room
    if strategy == "do_not_truncate" or excess <= 0:
        return first, other
    if room == 0:
        return 0, 0
    if strategy == "longest_first":
        shorter = min(first, other, room // 2)
        return (room - shorter, shorter) if first > other else (shorter, room - shorter)
    if strategy == "only_second" and second is None:
        raise ValueError('truncation is "only_second", but a row that is too long has no second sequence')
    length = first if strategy == "only_first" else other
    if length <= excess:
        raise ValueError(
            f'truncation is "{strategy}", but a row has {excess} tokens more than fit and that sequence has only '
            f"{length}"
        )
    return (first - excess, other) if strategy == "only_first" else (first, other - excess)


def padded_length(lengths: Sequence[int], strategy: str, limit: int | None, multiple: int | None) -> int:
    """Return the length to pad rows to, `limit` for "max_length", rounded up to a `multiple`; 0 for no padding.

    >>> padded_length([3, 5], "longest", None, multiple=4)
    8
    """
    if strategy == "do_not_pad" or (strategy == "max_length" and limit is None):
        return 0
    length = max(lengths, default=0) if strategy == "longest" else limit or 0
    return -(-length // multiple) * multiple if multiple else length


def pad_columns(columns: Mapping[str, Sequence[Any]], length: int, pad_token_id: int, side: str) -> dict[str, Any]:
    """Pad the rows of each column up to `length`, on the "right" or "left".

    Longer rows and columns of other names stay as they are.

    >>> pad_columns({"input_ids": [[7], [8, 9]], "attention_mask": [[1], [1, 1]]}, 2, 0, "right")
    {'input_ids': [[7, 0], [8, 9]], 'attention_mask': [[1, 0], [1, 1]]}
    """
    if side not in ("right", "left"):
        raise ValueError(f'padding_side is {side!r}, but must be "right" or "left"')
    values: dict[str, Any] = {**PADDING, "input_ids": pad_token_id}
    padded = {name: list(rows) for name, rows in columns.items()}
    for name in padded.keys() & values.keys():
        for number, row in enumerate(padded[name]):
            if len(row) < length:
                padding = [values[name]] * (length - len(row))
                padded[name][number] = row + padding if side == "right" else padding + row
    return padded
