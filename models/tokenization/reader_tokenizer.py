"""The reader's tokenizer: a question, a title and a text make one row, `[CLS] question [SEP] title [SEP] text`.

The columns that the call returns do not say where the text starts, because a literal "[SEP]" in a question looks like
the layout's own. `encode_passages` records it, and the characters of each token of the text, for `DPRReader.answer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from dpr_export.models import spans
from dpr_export.models.outputs import DPRSpanPrediction
from dpr_export.models.tokenization.batch_encoding import BatchEncoding, check_texts
from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer
from dpr_export.models.tokenization.row_templates import BERT
from dpr_export.models.tokenization.rows import find_strategy, truncated_lengths
from dpr_export.models.tokenization.tokenizer_options import TokenizerOptions


@dataclass(frozen=True, slots=True)
class PassageRow:
    """One row for the reader, and the place of the passage's text in it."""

    passage: int  # the number of the passage
    input_ids: list[int]  # [CLS] question [SEP] title [SEP] text
    text_start: int  # the index of the first token of the text
    offsets: NDArray[np.int64]  # (text tokens, 2): each token's first character in the text, and one past its last
    truncated: bool  # whether the end of the title or of the text was cut off


class NoRoomError(ValueError):
    """A question is so long that a row has no room for the text of a passage."""


class DPRReaderTokenizer(BertTokenizer):
    """The reader's tokenizer.

    >>> import tempfile, pathlib
    >>> words = "[PAD] [UNK] [CLS] [SEP] [MASK] what is love had ##dad ##way a song".split()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "vocab.txt").write_text("\\n".join(words))
    ...     tokenizer = DPRReaderTokenizer.from_pretrained(folder)
    >>> tokenizer("What is love", titles=["Haddadway"], texts=["a song"], return_tensors="np").input_ids
    array([[ 2,  5,  6,  7,  3,  8,  9, 10,  3, 11, 12]])
    >>> row, = tokenizer.encode_passages("What is love", "Haddadway", "a song", max_length=10)
    >>> row.input_ids[row.text_start :], row.offsets.tolist(), row.truncated
    ([11], [[0, 1]], True)
    """

    model_input_names = ("input_ids", "attention_mask")

    def __init__(self, backend: Tokenizer, options: TokenizerOptions, name_or_path: str = "") -> None:
        super().__init__(backend, options, name_or_path)
        if self.template is not BERT:
            raise ValueError(f"the reader's rows are BERT's, but this tokenizer makes {self.template.name}'s")

    def __call__(  # type: ignore[override]  # three strings instead of two, as in transformers
        self,
        questions: str | Sequence[str],
        titles: str | Sequence[str] | None = None,
        texts: str | Sequence[str] | None = None,
        padding: bool | str = False,
        truncation: bool | str | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        **options: Any,
    ) -> BatchEncoding:
        """Encode questions with the titles and texts of passages.

        Args:
            questions: one for each passage; a string is repeated for every passage.
            titles, texts: one for each passage; a string is a list of one. Without both, the questions are encoded
                alone; with one of them, as ordinary pairs with a closing [SEP].
            padding: False, True or "longest", or "max_length".
            truncation: True or any strategy's name truncates the end of each row to max_length, if that is given.
            max_length: the length to pad or truncate to; None pads to `model_max_length` and does not truncate.
            return_tensors: None for lists, "np" for int64 arrays (passages, sequence), "pt" for torch tensors.
            return_attention_mask: False omits attention_mask. The mask is 0 wherever an id is `pad_token_id`.
            options: any other argument of the other tokenizers' call; not together with titles and texts.

        Raises:
            TypeError: an unknown keyword, or one that is not allowed with titles and texts.
            ValueError: the numbers of questions, titles and texts differ or are 0; one is no string; a strategy is
                unknown; rows that differ in length cannot make an array.
        """
        shape: dict[str, Any] = {"padding": padding, "max_length": max_length, "return_tensors": return_tensors}
        shape["return_attention_mask"] = return_attention_mask
        if titles is None or texts is None:
            name, pair = ("titles", titles) if texts is None else ("texts", texts)
            if pair is not None and isinstance(questions, str) != isinstance(pair, str):
                raise TypeError(f"questions and {name} must both be strings, or both be lists, where they make pairs")
            if not options.get("is_split_into_words"):
                for column, strings in (("questions", questions), (name, pair)):
                    if strings is not None:
                        check_texts(column, strings, batched=not isinstance(strings, str))
            return super().__call__(questions, pair, truncation=truncation, **shape, **options)
        if options:
            raise TypeError(f"with titles and texts the call takes no {', '.join(options)}")
        passages = _check_passages(questions, titles, texts)
        strategy, limit = find_strategy("truncation", truncation), self._limit(max_length)
        end = None if max_length is None or strategy == "do_not_truncate" else limit
        pieces = self._tokenize_once(passages)
        rows = [(self._head(pieces, q, title) + pieces[text].ids)[:end] for q, title, text in passages]
        columns = {"input_ids": rows}
        if return_attention_mask is not False:
            pad = self.pad_token_id
            columns["attention_mask"] = [[int(number != pad) for number in row] for row in rows]
        return self.pad(columns, **shape)

    def encode_passages(
        self,
        questions: str | Sequence[str],
        titles: str | Sequence[str],
        texts: str | Sequence[str],
        max_length: int,
        stride: int | None = None,
        first: int = 0,
    ) -> list[PassageRow]:
        """Encode passages into rows of at most `max_length` tokens that record the place of their text.

        Args:
            questions, titles, texts: as in the call.
            max_length: the largest number of tokens of a row.
            stride: split a text that is too long into several rows, each repeating so many tokens of the one before;
                None truncates the text instead.
            first: the number of the first passage, if these passages are part of a longer list.

        Returns:
            A row for each passage, in order; with `stride`, as many as its text needs. An empty text has one row. A
            title that leaves no room for the text is cut to half of what the question leaves, or to what the text does
            not need.

        Raises:
            NoRoomError: a question leaves no room for the text, or, with `stride`, none for a new token.
            ValueError: `stride` is negative; or the call would refuse the passages.
        """
        if stride is not None and stride < 0:
            raise ValueError(f"stride is {stride}, but must be a whole number from 0, or None")
        passages = _check_passages(questions, titles, texts)
        pieces = self._tokenize_once(passages)
        rows = []
        for number, (question, title, text) in enumerate(passages, start=first):
            ids, offsets = pieces[text].ids, np.array(pieces[text].offsets, np.int64).reshape(-1, 2)
            titled = self._title_length(pieces, question, title, text, max_length, number)
            head = self._head(pieces, question, title, titled)
            room = max_length - len(head)
            if stride is not None and len(ids) > room <= stride:
                raise NoRoomError(
                    f"stride is {stride}, but a row of passage {number} has room for {room} tokens of its text, "
                    "which must be more than are repeated"
                )
            cut = (stride is None and len(ids) > room) or titled < len(pieces[title])
            step = max(len(ids), 1) if stride is None or len(ids) <= room else room - stride
            for start in range(0, max(len(ids) - (stride or 0), 1), step):
                end = start + room
                rows.append(PassageRow(number, head + ids[start:end], len(head), offsets[start:end], cut))
        return rows

    def decode_best_spans(
        self,
        reader_input: BatchEncoding,
        reader_output: Any,
        num_spans: int = 16,
        max_answer_length: int = 64,
        num_spans_per_passage: int = 4,
    ) -> list[DPRSpanPrediction]:
        """Return the best spans of the most relevant passages; see `spans.decode_best_spans`.

        Args:
            reader_input: the BatchEncoding of the call.
            reader_output: start_logits, end_logits (passages, sequence) and relevance_logits (passages,).
            num_spans: the largest number of spans to return.
            max_answer_length: the largest number of tokens of a span.
            num_spans_per_passage: the largest number of spans of one passage.
        """
        return spans.decode_best_spans(
            reader_input["input_ids"],
            reader_output,
            sep_token_id=self.sep_token_id,
            pad_token_id=self.pad_token_id,
            decode=self.batch_decode,
            num_spans=num_spans,
            max_answer_length=max_answer_length,
            num_spans_per_passage=num_spans_per_passage,
        )

    def _tokenize_once(self, passages: list[tuple[str, str, str]]) -> dict[str, Encoding]:
        """Return the word pieces of every distinct string."""
        strings = list(dict.fromkeys(string for passage in passages for string in passage))
        return dict(zip(strings, (pieces for (pieces,) in self._pieces(strings)), strict=True))

    def _head(
        self, pieces: dict[str, Encoding], question: str, title: str, title_length: int | None = None
    ) -> list[int]:
        """Return the ids before the text, with so many of the title; None: all."""
        sep = self.sep_token_id
        return [self.cls_token_id, *pieces[question].ids, sep, *pieces[title].ids[:title_length], sep]

    def _title_length(
        self, pieces: dict[str, Encoding], question: str, title: str, text: str, max_length: int, number: int
    ) -> int:
        """Return how many tokens of a title are kept; `number` is the passage's."""
        length = len(pieces[question])
        room = max_length - length - 3
        if room < 1:
            raise NoRoomError(
                f"passage {number} has {length} tokens of question, which with 3 special tokens leave no room for its "
                f"text within max_length, {max_length}"
            )
        least = min(len(pieces[text]), 1)
        if len(pieces[title]) + least <= room:
            return len(pieces[title])
        title_length, _ = truncated_lengths("longest_first", len(pieces[title]), len(pieces[text]), room)
        return min(title_length, room - least)


def _check_passages(
    questions: str | Sequence[str], titles: str | Sequence[str], texts: str | Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return the question, title and text of each passage; raise a ValueError if they do not fit together."""
    titles, texts = ([column] if isinstance(column, str) else list(column) for column in (titles, texts))
    if len(titles) != len(texts):
        raise ValueError(f"titles has {len(titles)} entries, but texts has {len(texts)}: a passage has one of each")
    if not titles:
        raise ValueError("titles and texts have no entries, but at least one passage is needed")
    asked = check_texts("questions", questions, batched=not isinstance(questions, str))
    questions = asked * len(titles) if isinstance(questions, str) else asked
    if len(questions) != len(titles):
        raise ValueError(
            f"questions has {len(questions)} entries, but there are {len(titles)} passages: give a string to ask all "
            "of them the same"
        )
    return list(zip(questions, check_texts("titles", titles, True), check_texts("texts", texts, True), strict=True))


DPRReaderTokenizerFast = DPRReaderTokenizer
