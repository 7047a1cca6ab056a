"""The tokenizers of the question and context encoders: from text to rows of token ids, and back.

Rows are built here from the library's word pieces. Setting truncation or padding on the library's tokenizer for each
call, as transformers does, would keep threads from sharing it, and a copy takes as long as loading the vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from tokenizers import Encoding

from dpr_export.models.tokenization.batch_encoding import BatchEncoding, sequences
from dpr_export.models.tokenization.row_layout import RowLayout
from dpr_export.models.tokenization.row_templates import NO_EDGES
from dpr_export.models.tokenization.rows import find_strategy, pad_columns, padded_length, truncated_lengths
from dpr_export.models.tokenization.truncated_rows import ATTRIBUTES, TruncatedRows


class BertTokenizer(RowLayout):
    """The base of the three DPR tokenizers: BERT's rows of one or two sequences, or RoBERTa's."""

    model_input_names: tuple[str, ...] = ("input_ids", "token_type_ids", "attention_mask")

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,  # noqa: ARG002  # nothing is logged here
        split_special_tokens: bool = False,
    ) -> BatchEncoding:
        """Encode one text or many, alone or in pairs.

        Args:
            text: a string, or a list of them, or of pairs of them; with is_split_into_words a list of words in place
                of each string.
            text_pair: the second sequences, in the form of `text`. For a single text, an empty one means none.
            add_special_tokens: put [CLS] and [SEP], or RoBERTa's <s> and </s>, around the sequences.
            padding: False, True or "longest", or "max_length".
            truncation: False, True or "longest_first", "only_first", "only_second". None is False, but
                "longest_first" where max_length is given and padding is False.
            max_length: the length to pad or truncate to; None: `model_max_length`, if that is known.
            stride: how many tokens a row of return_overflowing_tokens repeats of the one before.
            pad_to_multiple_of: round the padded length up to a multiple of this.
            padding_side: "right" or "left" for this call.
            return_tensors: None for lists, "np" for int64 arrays (rows, sequence), "pt" for torch tensors.
            return_token_type_ids, return_attention_mask: None follows `model_input_names`.
            return_overflowing_tokens: make further rows of the tokens that are cut off, and add
                overflow_to_sample_mapping, the number of the text that each row was made of.
            return_special_tokens_mask: add special_tokens_mask, 1 for special tokens and padding.
            return_offsets_mapping: add offset_mapping, the first character of each token and the one after its last.
            return_length: add length, the number of tokens of each row.
            verbose: has no effect.
            split_special_tokens: encode "[SEP]" in a text as ordinary text.

        Returns:
            Lists of rows; plain rows for a single text, unless arrays or overflowing rows are asked for.

        Raises:
            ValueError: a text is no string or holds a lone surrogate; a strategy is unknown; max_length leaves no
                room for the special tokens, or for more than the stride; rows that differ in length cannot make an
                array.
            TypeError: `text` is a list and `text_pair` is not.
        """
        batched = isinstance(text, list | tuple)
        if is_split_into_words:
            batched = batched and len(text) > 0 and isinstance(text[0], list | tuple)
        firsts, seconds = sequences(text, text_pair, batched, is_split_into_words)
        if truncation is None and max_length is not None and padding is False:
            truncation = True
        pad_by, side = find_strategy("padding", padding), padding_side or self.padding_side
        limit = self._limit(max_length)
        truncate_by, room = self._room(truncation, limit, add_special_tokens, seconds is not None)
        both = truncate_by != "do_not_truncate" and pad_by != "do_not_pad"
        if both and pad_to_multiple_of and limit and limit % pad_to_multiple_of:
            raise ValueError(f"max_length is {limit}, but must be a multiple of {pad_to_multiple_of}")
        if stride < 0:
            raise ValueError(f"stride is {stride}, but must be a whole number from 0")
        pieces = self._pieces(firsts, seconds, is_split_into_words, split_special_tokens)
        lengths = ((len(row[0]), len(row[1]) if len(row) > 1 else None) for row in pieces)
        rows = TruncatedRows(
            template=self.template,
            ends=self._ends,
            edges=self._edges(seconds is not None) if add_special_tokens else NO_EDGES,
            pieces=pieces,
            lengths=[truncated_lengths(truncate_by, first, second, room) for first, second in lengths],
            side=self.truncation_side,
            overflowing=return_overflowing_tokens,
            stride=stride,
        )
        requested = (True, return_token_type_ids, return_attention_mask, return_special_tokens_mask)
        columns: dict[str, Any] = {
            name: rows.column(name)
            for name, asked in zip(ATTRIBUTES, (*requested, return_offsets_mapping), strict=True)
            if asked or (asked is None and name in self.model_input_names)
        }
        length = padded_length([len(row) for row in columns["input_ids"]], pad_by, limit, pad_to_multiple_of)
        columns = pad_columns(columns, length, self.pad_token_id, side)
        if return_length:
            columns["length"] = [len(row) for row in columns["input_ids"]]
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = rows.samples
        elif not batched and return_tensors is None:
            columns = {name: column if name == "length" else column[0] for name, column in columns.items()}
        make_encodings = partial(rows.encodings, length, self.pad_token_id, self.pad_token, side)
        return BatchEncoding(columns, return_tensors, make_encodings)

    def encode(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        **options: Any,
    ) -> Any:
        """Return the input_ids of a call; the arguments are those of the call."""
        return BertTokenizer.__call__(
            self, text, text_pair, add_special_tokens, padding, truncation, max_length, **options
        )["input_ids"]

    def encode_plus(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        add_special_tokens: bool = True,
        **options: Any,
    ) -> BatchEncoding:
        """Encode one text or one pair, as in transformers 4; the arguments are those of the call."""
        if isinstance(text, list | tuple) and not options.get("is_split_into_words"):
            raise ValueError(f"text is a {type(text).__name__}, but encode_plus takes one text: call batch_encode_plus")
        return BertTokenizer.__call__(self, text, text_pair, add_special_tokens, **options)

    def batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], add_special_tokens: bool = True, **options: Any
    ) -> BatchEncoding:
        """Encode many texts, or many pairs as tuples, as in transformers 4; the arguments are those of the call."""
        if not isinstance(batch_text_or_text_pairs, list | tuple):
            kind = type(batch_text_or_text_pairs).__name__
            raise TypeError(f"batch_text_or_text_pairs is of type {kind}, but must be a list of texts or of pairs")
        return BertTokenizer.__call__(self, batch_text_or_text_pairs, None, add_special_tokens, **options)

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """Return the tokens of a text, or of a text and its pair; the options are those of the call."""
        return BertTokenizer.__call__(self, text, pair, add_special_tokens, **options).tokens()

    def _pieces(
        self, firsts: list[Any], seconds: list[Any] | None = None, words: bool = False, split: bool = False
    ) -> list[tuple[Encoding, ...]]:
        """Return the word pieces of each text and of its pair, without special tokens."""
        encode = (self._splitting if split else self.backend_tokenizer).encode_batch
        columns = [firsts] if seconds is None else [firsts, seconds]
        encoded = (encode(texts, add_special_tokens=False, is_pretokenized=words) for texts in columns)
        return list(zip(*encoded, strict=True))


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
    """The context encoder's tokenizer: `[CLS] title [SEP] text [SEP]`, the text with token type 1.

    RoBERTa's rows are `<s> title </s></s> text </s>`, with token type 0 everywhere.
    """


DPRQuestionEncoderTokenizerFast = DPRQuestionEncoderTokenizer
DPRContextEncoderTokenizerFast = DPRContextEncoderTokenizer
