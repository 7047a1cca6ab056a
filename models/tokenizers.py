"""The tokenizers of the question and context encoders: text to rows of ids, and back.

Text is cut into word pieces by the `tokenizers` library; the rows, `[CLS] first [SEP]` or
`[CLS] first [SEP] second [SEP]`, are put together here, from lists. So a call never sets truncation or padding on
the library's object, as the original does, and one tokenizer serves many threads.

Where the original is mended: lower case follows the checkpoint; an unknown keyword is a TypeError; max_length below
the number of special tokens is refused (the original then cuts nothing); no texts give no rows (there an IndexError);
a lone surrogate is refused by name. Left out: `stride` and overflowing rows, `split_special_tokens`, pairs given as
tuples, names on a hub.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding

from dpr_export.models.encoding import BatchEncoding, sequences
from dpr_export.models.rows import (
    build_row,
    kept_lengths,
    pad_columns,
    padded_length,
    padding_strategy,
    truncation_strategy,
)
from dpr_export.models.tensors import is_torch, to_lists
from dpr_export.models.vocabulary import Vocabulary

KNOWN_LENGTH = 10**20  # a model_max_length from here on means that nobody knows


class BertTokenizer(Vocabulary):
    """What the three DPR tokenizers share: BERT's rows of one or two sequences."""

    model_input_names: tuple[str, ...] = ("input_ids", "token_type_ids", "attention_mask")

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Encode one text or many, alone or in pairs.

        Args:
            text: a string, or a list of them; with is_split_into_words a list of words, or a list of those.
            text_pair: the second sequences, in the form of `text`. Beside a single text an empty one counts as none.
            add_special_tokens: put [CLS] and [SEP] around the sequences.
            padding: False, True or "longest", or "max_length".
            truncation: False, True or "longest_first", "only_first", "only_second". None is False, but
                "longest_first" where max_length is given and padding is False.
            max_length: the bound for both; None takes `model_max_length`, or none where that is unknown.
            pad_to_multiple_of: round the padded length up to a multiple of this.
            padding_side: "right" or "left" for this call.
            return_tensors: None for lists, "np" for int64 arrays (rows, sequence), "pt" for torch tensors.
            return_token_type_ids, return_attention_mask: None follows `model_input_names`.
            return_special_tokens_mask: add special_tokens_mask, 1 where a token belongs to the layout or pads.
            return_offsets_mapping: add offset_mapping, where each token's characters begin and end in its text.
            return_length: add length, each row's.

        Returns:
            Lists of rows; plain rows for a single text, unless arrays are asked for.

        Raises:
            ValueError: a text is no string or holds a lone surrogate, a strategy is unknown, max_length leaves no
                room for the special tokens, or rows of different length should make an array.
            TypeError: `text` is a list and `text_pair` is not.
        """
        batched = isinstance(text, list | tuple)
        if is_split_into_words:
            batched = batched and len(text) > 0 and isinstance(text[0], list | tuple)
        firsts, seconds = sequences(text, text_pair, batched, is_split_into_words)
        if truncation is None and max_length is not None and padding is False:
            truncation = True
        strategy, room = self._room(truncation, max_length, add_special_tokens, seconds is not None)
        fill, limit = padding_strategy(padding), self._limit(max_length)
        both = strategy != "do_not_truncate" and fill != "do_not_pad"
        if both and pad_to_multiple_of and limit and limit % pad_to_multiple_of:
            raise ValueError(f"max_length is {limit}, but must be a multiple of {pad_to_multiple_of}")
        wanted = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        own = self.model_input_names
        columns: dict[str, Any] = {
            name: [] for name, asked in wanted.items() if asked or (asked is None and name in own)
        }
        edges = (self.cls_token_id, self.sep_token_id, self.sep_token_id) if add_special_tokens else ()
        for pieces in self._pieces(firsts, seconds, is_split_into_words):
            kept = kept_lengths(strategy, len(pieces[0]), len(pieces[1]) if len(pieces) > 1 else None, room)
            for name, rows in columns.items():
                rows.append(build_row(name, pieces, kept, edges, self.truncation_side))
        columns = self._fill(columns, fill, limit, pad_to_multiple_of, padding_side)
        if return_length:
            columns["length"] = [len(row) for row in columns["input_ids"]]
        if not batched and return_tensors is None:
            columns = {name: rows if name == "length" else rows[0] for name, rows in columns.items()}
        return BatchEncoding(columns, return_tensors)

    def encode(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> Any:
        """Return the input_ids alone of what the call returns; the arguments are the call's."""
        return BertTokenizer.__call__(
            self,
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
        )["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """Return the tokens of a text, or of a text and its pair."""
        tokens: list[str] = self.convert_ids_to_tokens(self.encode(text, pair, add_special_tokens))
        return tokens

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a row of one sequence, or of two, has."""
        return 3 if pair else 2

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad rows that are encoded already; longer ones are not cut.

        Args:
            encoded_inputs: columns of rows, columns of one row, or a list of encodings of one row each. They are not
                changed. Where there is no attention_mask, every token given is attended to.
            padding, max_length, pad_to_multiple_of, padding_side: as in the call.
            return_attention_mask: False leaves the mask out, also where it was given.
            return_tensors: None for what the input_ids are: lists, arrays or tensors.

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
        columns = self._fill(
            columns, padding_strategy(padding), self._limit(max_length), pad_to_multiple_of, padding_side
        )
        return BatchEncoding({name: rows[0] for name, rows in columns.items()} if alone else columns, return_tensors)

    def _limit(self, max_length: int | None) -> int | None:
        """max_length where it is given, else the model's, else None."""
        if max_length is None:
            return self.model_max_length if self.model_max_length < KNOWN_LENGTH else None
        if not isinstance(max_length, int | np.integer) or max_length < 0:
            raise ValueError(f"max_length is {max_length!r}, but must be a whole number from 0")
        return int(max_length)

    def _room(
        self, truncation: bool | str | None, max_length: int | None, special: bool, pair: bool
    ) -> tuple[str, int]:
        """The truncation strategy, and how many tokens it leaves to the sequences."""
        strategy, limit = truncation_strategy(truncation), self._limit(max_length)
        if strategy == "do_not_truncate" or limit is None:
            return "do_not_truncate", 0
        edges = self.num_special_tokens_to_add(pair) if special else 0
        if limit < edges:
            raise ValueError(f"max_length is {limit}, but the special tokens of a row alone are {edges}")
        return strategy, limit - edges

    def _pieces(
        self, firsts: list[Any], seconds: list[Any] | None = None, words: bool = False
    ) -> Iterator[tuple[Encoding, ...]]:
        """The word pieces of each text, and of its pair, without special tokens."""
        encode = self.backend_tokenizer.encode_batch
        columns = [firsts] if seconds is None else [firsts, seconds]
        return zip(*(encode(texts, add_special_tokens=False, is_pretokenized=words) for texts in columns), strict=True)

    def _fill(
        self, columns: dict[str, Any], strategy: str, limit: int | None, multiple: int | None, side: str | None
    ) -> dict[str, Any]:
        lengths = [len(row) for row in columns["input_ids"]]
        length = padded_length(lengths, strategy, limit, multiple)
        return pad_columns(columns, length, self.pad_token_id, side or self.padding_side)


class DPRQuestionEncoderTokenizer(BertTokenizer):
    """The question encoder's tokenizer: `[CLS] question [SEP]`.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "love", "?"]
    ...     _ = pathlib.Path(folder, "vocab.txt").write_text("\\n".join(words))
    ...     tokenizer = DPRQuestionEncoderTokenizer.from_pretrained(folder)
    >>> tokenizer("What is love?", return_tensors="np").input_ids
    array([[2, 5, 6, 7, 8, 3]])
    >>> tokenizer.decode([5, 6, 7, 8])
    'what is love?'
    """


class DPRContextEncoderTokenizer(BertTokenizer):
    """The context encoder's tokenizer: `[CLS] title [SEP] text [SEP]`, the text with token type 1."""


DPRQuestionEncoderTokenizerFast = DPRQuestionEncoderTokenizer
DPRContextEncoderTokenizerFast = DPRContextEncoderTokenizer


def _tensor_type(column: Any) -> str | None:
    """Whether a column, or its first row, is an array ("np"), a tensor ("pt") or a list (None)."""
    while isinstance(column, list | tuple) and len(column):
        column = column[0]
    return "pt" if is_torch(column) else "np" if isinstance(column, np.ndarray) else None
