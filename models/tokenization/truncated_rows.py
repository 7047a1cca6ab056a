"""A call's rows before they are padded: the word pieces of each text, and how many of them stay.

Columns are read off lists, which is fast. The `tokenizers` library's Encodings, which know words and characters too,
and the parts of a text that were cut off, are made where somebody asks for them. Either way the library's own
settings stay untouched, so that many threads may share one tokenizer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Encoding, Tokenizer

from dpr_export.models.tokenization.rows import build_row

# A column's name among an Encoding's attributes.
ATTRIBUTES = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}


@dataclass(frozen=True)
class CutRows:
    """The rows of one call.

    Attributes:
        backend: knows the layout of a row.
        pieces: the word pieces of each row's one text or two, without special tokens.
        kept: how many tokens of each stay.
        edges: the ids of the special tokens, in their order; empty for rows without them.
        side: which end of a text is cut, "right" or "left".
        overflowing: whether what is cut off makes rows of its own, after the one it was cut from.
        stride: how many tokens such a row repeats of the one before.
    """

    backend: Tokenizer
    pieces: Sequence[tuple[Encoding, ...]]
    kept: Sequence[tuple[int, int]]
    edges: Sequence[int]
    side: str
    overflowing: bool = False
    stride: int = 0

    def column(self, name: str) -> list[list[Any]]:
        """A column of the rows, one of `ATTRIBUTES`."""
        if self.overflowing:
            return [getattr(part, ATTRIBUTES[name]) for parts in self._parts for part in parts]
        rows = zip(self.pieces, self.kept, strict=True)
        return [build_row(name, texts, kept, self.edges, self.side) for texts, kept in rows]

    @property
    def samples(self) -> list[int]:
        """For each row, which text it is of."""
        return [number for number, parts in enumerate(self._parts) for _ in parts]

    def encodings(self, length: int, pad_token_id: int, pad_token: str, padding_side: str) -> list[Encoding]:
        """The rows as Encodings, padded up to a length."""
        rows = [part for parts in self._parts for part in (parts if self.overflowing else parts[:1])]
        for row in rows:
            row.pad(length, direction=padding_side, pad_id=pad_token_id, pad_token=pad_token)
        return rows

    @cached_property
    def _parts(self) -> list[list[Encoding]]:
        return [self._row(texts, kept) for texts, kept in zip(self.pieces, self.kept, strict=True)]

    def _row(self, texts: tuple[Encoding, ...], kept: tuple[int, int]) -> list[Encoding]:
        """A row, and one for each part that was cut off."""
        copies = [_copy(text, number) for number, text in enumerate(texts)]
        for text, count in zip(copies, kept, strict=False):
            cut = self.overflowing and count < len(text)
            if cut and count <= self.stride:
                raise ValueError(
                    f"a row has room for {count} tokens of a text that is cut, which must be more than stride, "
                    f"{self.stride}: raise max_length"
                )
            text.truncate(count, stride=self.stride if cut else 0, direction=self.side)
        pair = copies[1] if len(copies) > 1 else None
        row = self.backend.post_process(copies[0], pair, add_special_tokens=bool(self.edges))
        return [row, *row.overflowing]


def _copy(text: Encoding, number: int) -> Encoding:
    """A copy to cut of a row's first or second text.

    It has its token types already, which the layout gives the row alone and not the parts that are cut off; and it
    forgets that it was a whole row, or the layout would not number the row's texts.
    """
    state = json.loads(text.__getstate__()) | {"type_ids": [number] * len(text), "sequence_ranges": {}}
    copy = Encoding()
    copy.__setstate__(json.dumps(state).encode())
    return copy
