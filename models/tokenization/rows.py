"""Functions on rows of token ids: how two sequences are truncated, laid out with special tokens, and padded.

They take and return lists. transformers sets truncation and padding on its tokenizer for each call; here no call
changes the tokenizer, so that threads can share one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Encoding

# The columns of a row, and the attribute of an Encoding that holds each.
ATTRIBUTES = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}

# The value of a padding token in each column. In input_ids it is the tokenizer's pad_token_id.
PADDING = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}

# The columns that depend on the layout alone: the value of a token of the first sequence, of a token of the second, and
# of a special token of either.
LAYOUT = {
    "token_type_ids": (0, 1, 0, 1),
    "attention_mask": (1, 1, 1, 1),
    "special_tokens_mask": (0, 0, 1, 1),
}


def truncation_strategy(truncation: bool | str | None) -> str:
    """Return the strategy's name; True means "longest_first", False and None mean "do_not_truncate".

    >>> truncation_strategy(True)
    'longest_first'
    """
    names = ("longest_first", "only_first", "only_second", "do_not_truncate")
    return _strategy("truncation", bool(truncation) if truncation is None else truncation, names)


def padding_strategy(padding: bool | str) -> str:
    """Return the strategy's name; True means "longest", False means "do_not_pad".

    >>> padding_strategy(True)
    'longest'
    """
    return _strategy("padding", padding, ("longest", "max_length", "do_not_pad"))


def _strategy(argument: str, value: bool | str, names: Sequence[str]) -> str:
    """Return the name that `value` is; True means the first of `names`, False the last."""
    if isinstance(value, bool):
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
    """Return the length to pad rows to; 0 for no padding.

    Args:
        lengths: the number of tokens of each row.
        strategy: "longest", "max_length" or "do_not_pad".
        limit: the length for "max_length"; None: no padding.
        multiple: round the result up to a multiple of this.

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
        value = [values[name]]
        for number, row in enumerate(padded[name]):
            padding = value * (length - len(row))
            padded[name][number] = row + padding if side == "right" else padding + row
    return padded


def build_row(
    column: str, pieces: Sequence[Encoding], lengths: Sequence[int], special_ids: Sequence[int], side: str
) -> list[Any]:
    """Build one column of `[CLS] first [SEP]`, or of `[CLS] first [SEP] second [SEP]`.

    Args:
        column: one of `ATTRIBUTES`.
        pieces: the word pieces of one or two texts.
        lengths: how many tokens of each are kept.
        special_ids: the ids of the special tokens in their order; empty for a row without them.
        side: the end at which a text is truncated, "right" or "left".
    """

    def special(number: int, place: int) -> list[Any]:
        """Return the value of a special token of sequence `number`, in a list; an empty list without special tokens."""
        if not special_ids:
            return []
        if column in LAYOUT:
            return [LAYOUT[column][2 + number]]
        return [special_ids[place] if column == "input_ids" else (0, 0)]

    row = special(0, 0)
    for number, (encoding, length) in enumerate(zip(pieces, lengths, strict=False)):
        if column in LAYOUT:
            row += [LAYOUT[column][number]] * length
        else:
            start = len(encoding) - length if side == "left" else 0
            row += getattr(encoding, ATTRIBUTES[column])[start : start + length]
        row += special(number, number + 1)
    return row
