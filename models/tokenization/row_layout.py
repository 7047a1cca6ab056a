"""The layout of rows of ids, as their template in row_templates.py says, and their padding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpr_export.models.tokenization.batch_encoding import BatchEncoding
from dpr_export.models.tokenization.row_templates import Edges, lay_out
from dpr_export.models.tokenization.rows import find_strategy, pad_columns, padded_length
from dpr_export.models.tokenization.vocabulary import Vocabulary
from dpr_export.models.torch_interop import is_torch, to_lists

KNOWN_LENGTH = 10**20  # model_max_length from here on is transformers' value for "no limit"


class RowLayout(Vocabulary):
    """A vocabulary with the layout of its rows."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return the number of special tokens in a row of one sequence, or of a pair."""
        return self.template.count(pair)

    @property
    def max_len_single_sentence(self) -> int:
        """The number of tokens of one sequence that fit into `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """The number of tokens of two sequences that fit into `model_max_length` together."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Return the row of one or two sequences of ids, with special tokens added."""
        texts = _texts(token_ids_0, token_ids_1)
        return lay_out(self._edges(len(texts) > 1)["input_ids"], texts)

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Return the token_type_ids of the row that `build_inputs_with_special_tokens` returns."""
        texts = _texts(token_ids_0, token_ids_1)
        types = [[kind] * len(text) for kind, text in zip(self.template.types, texts, strict=False)]
        return lay_out(self._edges(len(texts) > 1)["token_type_ids"], types)

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Return 1 for each special token of a row, and 0 for every other token.

        Args:
            token_ids_0, token_ids_1: one or two sequences of ids, without the special tokens of the layout.
            already_has_special_tokens: `token_ids_0` is a whole row, in which every special token counts.

        Raises:
            ValueError: a whole row together with a second sequence.
        """
        if not already_has_special_tokens:
            texts = _texts(token_ids_0, token_ids_1)
            return lay_out(self._edges(len(texts) > 1)["special_tokens_mask"], [[0] * len(text) for text in texts])
        if token_ids_1 is not None:
            raise ValueError("token_ids_1 must be None where token_ids_0 is a whole row (already_has_special_tokens)")
        special = set(self.all_special_ids)
        return [int(number in special) for number in to_lists(token_ids_0)]

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,  # noqa: ARG002  # nothing is logged here
    ) -> BatchEncoding:
        """Pad encoded rows; longer rows are not truncated.

        Args:
            encoded_inputs: columns of rows, columns of one row, or a list of encodings of one row each. They are not
                changed. A missing attention_mask becomes all ones.
            padding, max_length, pad_to_multiple_of, padding_side: as in the call.
            return_attention_mask: False leaves the mask out, even if `encoded_inputs` has one.
            return_tensors: None keeps the type of the input_ids: lists, arrays or tensors.
            verbose: has no effect.

        Raises:
            ValueError: input_ids are missing, or the columns have different numbers of rows.
        """
        if not isinstance(encoded_inputs, Mapping):
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in encoded_inputs[0]}
        if "input_ids" not in encoded_inputs:
            raise ValueError(f"encoded_inputs has {sorted(encoded_inputs)}, but must have input_ids")
        if return_tensors is None:
            return_tensors = _tensor_type(encoded_inputs["input_ids"])
        columns = {name: to_lists(rows) for name, rows in encoded_inputs.items()}
        alone = len(columns["input_ids"]) > 0 and not isinstance(columns["input_ids"][0], list)
        if alone:
            columns = {name: [row] for name, row in columns.items()}
        sizes = {name: len(rows) for name, rows in columns.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"encoded_inputs has columns with different numbers of rows: {sizes}")
        if return_attention_mask is False:
            columns.pop("attention_mask", None)
        else:
            columns.setdefault("attention_mask", [[1] * len(row) for row in columns["input_ids"]])
        lengths = [len(row) for row in columns["input_ids"]]
        length = padded_length(lengths, find_strategy("padding", padding), self._limit(max_length), pad_to_multiple_of)
        columns = pad_columns(columns, length, self.pad_token_id, padding_side or self.padding_side)
        return BatchEncoding({name: rows[0] for name, rows in columns.items()} if alone else columns, return_tensors)

    def _edges(self, pair: bool) -> Edges:
        """Return the special tokens of a row of one sequence, or of a pair."""
        (_, cls), (_, sep) = self._ends
        return self.template.edges(pair, cls, sep)

    def _limit(self, max_length: int | None) -> int | None:
        """Return max_length if it is given, else the model's if that is known, else None."""
        if max_length is None:
            return self.model_max_length if self.model_max_length < KNOWN_LENGTH else None
        if not isinstance(max_length, int | np.integer) or max_length < 0:
            raise ValueError(f"max_length is {max_length!r}, but must be a whole number from 0")
        return int(max_length)

    def _room(self, truncation: bool | str | None, limit: int | None, special: bool, pair: bool) -> tuple[str, int]:
        """Return the truncation strategy, and how many tokens the sequences may have."""
        strategy = find_strategy("truncation", truncation)
        if strategy == "do_not_truncate" or limit is None:
            return "do_not_truncate", 0
        edges = self.num_special_tokens_to_add(pair) if special else 0
        if limit < edges:
            raise ValueError(f"max_length is {limit}, but the special tokens of a row alone are {edges}")
        return strategy, limit - edges


def _texts(first: Sequence[int], second: Sequence[int] | None) -> list[Sequence[int]]:
    return [first] if second is None else [first, second]


def _tensor_type(column: Any) -> str | None:
    """Return "np" if a column or its first row is an array, "pt" for a tensor, None for a list."""
    while isinstance(column, list | tuple) and len(column):
        column = column[0]
    return "pt" if is_torch(column) else "np" if isinstance(column, np.ndarray) else None
