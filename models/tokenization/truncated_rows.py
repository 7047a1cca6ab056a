"""The rows of one tokenizer call before padding: the word pieces of each text, and how many of them are kept.

Columns are built from lists, which is fast. Encodings of the `tokenizers` library, which also know words, characters
and the tokens that were cut off, are built on demand. Neither changes the settings of the shared tokenizer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Encoding, Tokenizer

# The columns of a row, and the attribute of an Encoding that holds each.
ATTRIBUTES = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}

# The columns that depend on the layout alone: the values of tokens of the first and the second sequence, and those of
# the special tokens.
LAYOUT = {
    "token_type_ids": ((0, 1), (0, 0, 1)),
    "attention_mask": ((1, 1), (1, 1, 1)),
    "special_tokens_mask": ((0, 0), (1, 1, 1)),
}


@dataclass(frozen=True)
class TruncatedRows:
    """The rows of one call."""

    backend: Tokenizer  # lays out a row's Encoding
    pieces: Sequence[tuple[Encoding, ...]]  # the word pieces of each row's one or two texts, without special tokens
    lengths: Sequence[tuple[int, int]]  # how many tokens of each text are kept
    special_ids: Sequence[int]  # the ids of the special tokens in their order; empty for rows without them
    side: str  # the end at which a text is truncated, "right" or "left"
    overflowing: bool = False  # whether the tokens that are cut off make further rows, after their own
    stride: int = 0  # how many tokens a further row repeats of the one before

    def column(self, name: str) -> list[list[Any]]:
        """Return a column of the rows, one of `ATTRIBUTES`."""
        if self.overflowing:
            return [getattr(row, ATTRIBUTES[name]) for rows in self._encodings for row in rows]
        values, special = LAYOUT.get(name, ((), self.special_ids if name == "input_ids" else [(0, 0)] * 3))
        edges: list[list[Any]] = [[value] for value in special] if self.special_ids else [[], [], []]
        rows = []
        for pieces, lengths in zip(self.pieces, self.lengths, strict=True):
            row = list(edges[0])
            for number, (text, length) in enumerate(zip(pieces, lengths, strict=False)):
                if values:
                    row += [values[number]] * length
                else:
                    start = len(text) - length if self.side == "left" else 0
                    row += getattr(text, ATTRIBUTES[name])[start : start + length]
                row += edges[number + 1]
            rows.append(row)
        return rows

    @property
    def samples(self) -> list[int]:
        """The number of the text that each row was made of."""
        return [number for number, rows in enumerate(self._encodings) for _ in rows]

    def encodings(self, length: int, pad_token_id: int, pad_token: str, padding_side: str) -> list[Encoding]:
        """Return the rows as Encodings, padded up to a length."""
        encodings = [row for rows in self._encodings for row in (rows if self.overflowing else rows[:1])]
        for encoding in encodings:
            encoding.pad(length, direction=padding_side, pad_id=pad_token_id, pad_token=pad_token)
        return encodings

    @cached_property
    def _encodings(self) -> list[list[Encoding]]:
        """For each text or pair its row, and the further rows."""
        return [self._encode(pieces, lengths) for pieces, lengths in zip(self.pieces, self.lengths, strict=True)]

    def _encode(self, pieces: tuple[Encoding, ...], lengths: tuple[int, int]) -> list[Encoding]:
        copies = [_copy(text, number) for number, text in enumerate(pieces)]
        for text, length in zip(copies, lengths, strict=False):
            cut = self.overflowing and length < len(text)
            if cut and length <= self.stride:
                raise ValueError(
                    f"a row has room for {length} tokens of a text that is cut, which must be more than stride, "
                    f"{self.stride}: raise max_length"
                )
            text.truncate(length, stride=self.stride if cut else 0, direction=self.side)
        pair = copies[1] if len(copies) > 1 else None
        row = self.backend.post_process(copies[0], pair, add_special_tokens=bool(self.special_ids))
        return [row, *row.overflowing]


def _copy(text: Encoding, number: int) -> Encoding:
    """Copy the first or second text of a row, so that it can be truncated and laid out.

    The token types are set here, because `post_process` sets those of the row alone and not those of its overflowing
    parts. The sequence ranges are cleared, because it numbers a row's texts only where they have none.
    """
    state = json.loads(text.__getstate__()) | {"type_ids": [number] * len(text), "sequence_ranges": {}}
    copy = Encoding()
    copy.__setstate__(json.dumps(state).encode())
    return copy
