"""Check the texts that `encode` and `answer` take, and apply one rule to passages without a title.

The rule is facebookresearch/DPR's: an empty title is none. An encoder then reads the text alone, `[CLS] text [SEP]`;
for the reader the title is empty, `[CLS] question [SEP] [SEP] text`.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any


def encoder_row(title: str | None, text: str) -> tuple[str, ...]:
    """The strings of a passage's row for an encoder.

    >>> encoder_row("Hamlet", "A play."), encoder_row("", "A play."), encoder_row(None, "A play.")
    (('Hamlet', 'A play.'), ('A play.',), ('A play.',))
    """
    return (title, text) if title else (text,)


def reader_title(title: str | None) -> str:
    """The title of a passage's row for the reader."""
    return title or ""


def check_titles(name: str, titles: Any, count: int) -> list[str | None]:
    """Return `count` titles as a list, in which None stands for a passage without one; or one None for all of them."""
    return [None] * count if titles is None else check_strings(name, titles, allow_none=True)


def check_strings(name: str, values: Any, allow_none: bool = False) -> list[Any]:
    """Return strings as a list; a TypeError or ValueError names the first that is no text."""
    strings = check_list(name, values)
    for index, value in enumerate(strings):
        if value is None and allow_none:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name}[{index}] is of type {type(value).__name__}, not a string")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name}[{index}] holds half a surrogate pair, {value[error.start]!r}, at position {error.start}, "
                "which is no character: read the text again as UTF-8"
            ) from None
    return strings


def check_list(name: str, values: Any) -> list[Any]:
    """Return the entries of a list, an array or a column of a table; refuse what has no order, or keys, or columns."""
    if isinstance(values, str):
        raise TypeError(f"{name} is one string: give a list of strings")
    is_list = isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0 and not hasattr(values, "columns")
    if not is_list or isinstance(values, bytes | bytearray | Mapping | Set):
        raise TypeError(f"{name} is of type {type(values).__name__}: give a list")
    return list(values)
