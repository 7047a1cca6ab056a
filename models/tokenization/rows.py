"""Rows of ids: how two sequences are cut, put together and padded.

Everything here is a function of lists. No tokenizer's state is set for a call, as the original does, so many threads
may share one tokenizer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Encoding

# What a padding token has in each column; input_ids take the tokenizer's pad_token_id.
PADDING = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}

# What a token of the first sequence, a token of the second, and a special token of either have in the columns that
# follow from the layout alone.
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
    if truncation is None or isinstance(truncation, bool):
        return "longest_first" if truncation else "do_not_truncate"
    for name in ("longest_first", "only_first", "only_second", "do_not_truncate"):
        if truncation == name:
            return name
    raise ValueError(
        f"truncation is {truncation!r}, but must be True, False, "
        '"longest_first", "only_first", "only_second" or "do_not_truncate"'
    )


def padding_strategy(padding: bool | str) -> str:
    """Return the strategy's name; True means "longest", False means "do_not_pad".

    >>> padding_strategy(True)
    'longest'
    """
    if isinstance(padding, bool):
        return "longest" if padding else "do_not_pad"
    for name in ("longest", "max_length", "do_not_pad"):
        if padding == name:
            return name
    raise ValueError(f'padding is {padding!r}, but must be True, False, "longest", "max_length" or "do_not_pad"')


def kept_lengths(strategy: str, first: int, second: int | None, room: int) -> tuple[int, int]:
    """Return how many tokens the first and the second sequence keep so that together they fit into `room`.

    "longest_first" takes from the longer one until both are equal, then from both; an odd token goes to the longer,
    and to the second where they are equal. "only_first" and "only_second" must leave a token of what they cut,
    except that room for nothing empties both, whatever the strategy.

    >>> kept_lengths("longest_first", 10, 3, room=8)
    (5, 3)
    >>> kept_lengths("longest_first", 10, 10, room=7)
    (3, 4)

    Raises:
        ValueError: the one sequence that may be cut is missing, or is too short for what must go.
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
    cut = first if strategy == "only_first" else other
    if cut <= excess:
        raise ValueError(
            f'truncation is "{strategy}", but a row has {excess} tokens more than fit and that sequence has only {cut}'
        )
    return (first - excess, other) if strategy == "only_first" else (first, other - excess)


def padded_length(lengths: Sequence[int], strategy: str, limit: int | None, multiple: int | None) -> int:
    """Return the length that rows of these lengths are padded to; 0 where nothing is to be padded.

    Args:
        lengths: tokens in each row.
        strategy: "longest", "max_length" or "do_not_pad".
        limit: the length for "max_length"; None pads nothing.
        multiple: the result is rounded up to a multiple of it.

    >>> padded_length([3, 5], "longest", None, multiple=4)
    8
    """
    if strategy == "do_not_pad" or (strategy == "max_length" and limit is None):
        return 0
    length = max(lengths, default=0) if strategy == "longest" else limit or 0
    return -(-length // multiple) * multiple if multiple else length


def pad_columns(columns: Mapping[str, Sequence[Any]], length: int, pad_token_id: int, side: str) -> dict[str, Any]:
    """Return the columns with rows filled up to `length` on the "right" or "left".

    A longer row stays as it is, and so does a column for which nobody says what padding has in it.

    >>> pad_columns({"input_ids": [[7], [8, 9]], "attention_mask": [[1], [1, 1]]}, 2, 0, "right")
    {'input_ids': [[7, 0], [8, 9]], 'attention_mask': [[1, 0], [1, 1]]}
    """
    if side not in ("right", "left"):
        raise ValueError(f'padding_side is {side!r}, but must be "right" or "left"')
    values: dict[str, Any] = {**PADDING, "input_ids": pad_token_id}
    padded = {}
    for name, rows in columns.items():
        if name not in values:
            padded[name] = list(rows)
            continue
        fill = [[values[name]] * (length - len(row)) for row in rows]
        pairs = zip(rows, fill, strict=True)
        padded[name] = [row + extra if side == "right" else extra + row for row, extra in pairs]
    return padded


def build_row(
    column: str,
    sequences: Sequence[Encoding],
    kept: Sequence[int],
    edges: Sequence[int],
    side: str = "right",
) -> list[Any]:
    """Return one column of `[CLS] first [SEP]`, or of `[CLS] first [SEP] second [SEP]`.

    Args:
        column: input_ids, offset_mapping, or one that follows from the layout.
        sequences: the word pieces of one or two texts.
        kept: how many tokens of each stay.
        edges: the ids of the special tokens, in their order; empty for a row without them.
        side: which end of a sequence is cut, "right" or "left".
    """
    row: list[Any] = []
    if edges:
        row += [_special(column, 0, edges[0])]
    for number, (sequence, count) in enumerate(zip(sequences, kept, strict=False)):
        start = len(sequence) - count if side == "left" else 0
        if column in LAYOUT:
            row += [LAYOUT[column][number]] * count
        else:
            row += (sequence.ids if column == "input_ids" else sequence.offsets)[start : start + count]
        if edges:
            row += [_special(column, number, edges[number + 1])]
    return row


def _special(column: str, number: int, token_id: int) -> Any:
    """What the special token at the end of sequence `number` has in a column."""
    if column in LAYOUT:
        return LAYOUT[column][2 + number]
    return token_id if column == "input_ids" else (0, 0)
