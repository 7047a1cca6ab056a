"""The rows of one tokenizer call before padding: the word pieces of each text, and how many of them are kept.

Columns are built from lists, which is fast. Encodings of the `tokenizers` library, which also know words, characters
and the tokens that were cut off, are built on demand. Neither changes the settings of the shared tokenizer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Encoding, processors

from dpr_export.models.tokenization.row_templates import NO_EDGES, Edges, RowTemplate

# The columns of a row, and the attribute of an Encoding that holds each.
ATTRIBUTES = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}

# The value of a text's tokens in the columns that depend on the layout alone; token types depend on the template too.
CONSTANT = {"attention_mask": (1, 1), "special_tokens_mask": (0, 0)}


@dataclass(frozen=True)
class TruncatedRows:
    """The rows of one call."""

    template: RowTemplate
    ends: tuple[tuple[str, int], tuple[str, int]]  # the template's two special tokens, each with its id
    pieces: Sequence[tuple[Encoding, ...]]  # the word pieces of each row's one or two texts, without special tokens
    lengths: Sequence[tuple[int, int]]  # how many tokens of each text are kept
    edges: Edges  # the template's special tokens, or NO_EDGES for rows without them
    side: str  # the end at which a text is truncated, "right" or "left"
    overflowing: bool = False  # whether the tokens that are cut off make further rows, after their own
    stride: int = 0  # how many tokens a further row repeats of the one before

    def column(self, name: str) -> list[list[Any]]:
        """Return a column of the rows, one of `ATTRIBUTES`."""
        if self.overflowing:
            return [getattr(row, ATTRIBUTES[name]) for rows in self._encodings for row in rows]
        values = self.template.types if name == "token_type_ids" else CONSTANT.get(name)
        edges = self.edges[name]
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
        # Not the tokenizer's own post-processor: RoBERTa's would trim the offsets of spaces a second time.
        processor = self.template.make_processor(*self.ends)
        rows = zip(self.pieces, self.lengths, strict=True)
        return [self._encode(processor, pieces, lengths) for pieces, lengths in rows]

    def _encode(
        self, processor: processors.PostProcessor, pieces: tuple[Encoding, ...], lengths: tuple[int, int]
    ) -> list[Encoding]:
        copies = [_copy(text, kind) for text, kind in zip(pieces, self.template.types, strict=False)]
        for text, length in zip(copies, lengths, strict=False):
            cut = self.overflowing and length < len(text)
            if cut and length <= self.stride:
                raise ValueError(
                    f"a row has room for {length} tokens of a text that is cut, which must be more than stride, "
                    f"{self.stride}: raise max_length"
                )
            text.truncate(length, stride=self.stride if cut else 0, direction=self.side)
        pair = copies[1] if len(copies) > 1 else None
        row = processor.process(copies[0], pair, self.edges is not NO_EDGES)
        return [row, *row.overflowing]


def _copy(text: Encoding, token_type: int) -> Encoding:
    """Copy the first or second text of a row, so that it can be truncated and laid out.

    The token types are set here, because the processor sets those of the row alone and not those of its overflowing
    parts. The sequence ranges are cleared, because it numbers a row's texts only where they have none.
    """
    state = json.loads(text.__getstate__()) | {"type_ids": [token_type] * len(text), "sequence_ranges": {}}
    copy = Encoding()
    copy.__setstate__(json.dumps(state).encode())
    return copy
