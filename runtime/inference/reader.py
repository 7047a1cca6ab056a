"""The reader: a question and passages to answers, and the call as in transformers.

    from dpr_export.runtime import DPRReader
    reader = DPRReader.from_pretrained("reader-onnx")
    answers = reader.answer("Who wrote Hamlet?", titles=["Hamlet"], texts=["Hamlet is a play by Shakespeare."])
    answers[0].text                                                                          # "Shakespeare"

`answer` differs from transformers' `decode_best_spans` in three ways. It searches the passage's text only, by positions
recorded when tokenizing, where transformers may answer with a piece of the title. It returns each answer as it stands
in the passage, widened to whole words. And it orders passages by relevance, with one span each by default.
"""

import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.kinds import READER, Kind
from dpr_export.models.tokenization.reader_tokenizer import NoRoomError, PassageRow
from dpr_export.runtime.inference.answers import Answer, best_answers
from dpr_export.runtime.inference.batching import TokenizedRows
from dpr_export.runtime.inference.model import DPRModel
from dpr_export.runtime.inference.texts import check_list, check_strings, check_titles, reader_title

Logits = NDArray[np.float32]
RowLogits = tuple[Logits, Logits, float]  # start logits, end logits and relevance; longer than the row if padded
Request = tuple[str, list[str], list[str]]  # a question, titles and texts
CHUNK = 64  # how many passages are tokenized at a time, while earlier ones are computed


class DPRReader(DPRModel):
    """Answers in passages, on an engine. A drop-in for the class of the same name in transformers."""

    kind: ClassVar[Kind] = READER

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        inputs_embeds: Any = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Compute the logits of tokenized passages, with transformers' arguments.

        Args:
            input_ids: integers (passages, sequence): a list, a NumPy array, or a torch tensor (then outputs are too);
                or all arguments, as a dictionary or as a list in this order.
            attention_mask: zeros and ones (passages, sequence); None attends to everything, padding included.
            inputs_embeds: floats (passages, sequence, hidden) in place of input_ids, for folders exported with
                --inputs-embeds.
            output_attentions, output_hidden_states: return them too, for folders exported with them; None: as the
                configuration says.
            return_dict: False for a plain tuple; None: as the configuration says.

        Returns:
            DPRReaderOutput, with start_logits and end_logits float32 (passages, sequence) and relevance_logits
            (passages,); or a tuple.

        Raises:
            ValueError: an argument of a wrong type, shape or value; the message names it.
            IndexError: an id outside the vocabulary.
            RuntimeError: the model is closed.
        """
        tensors = (input_ids, attention_mask, inputs_embeds)
        return self._call(tensors, (output_attentions, output_hidden_states, return_dict))

    @overload
    def answer(
        self,
        question: str,
        titles: Sequence[str | None] | None,
        texts: Sequence[str],
        *,
        top_k: int = 5,
        max_answer_length: int = 10,
        spans_per_passage: int = 1,
        stride: int | None = None,
        batch_tokens: int | None = None,
    ) -> list[Answer]: ...

    @overload
    def answer(
        self,
        question: list[str],
        titles: Sequence[Sequence[str | None] | None] | None,
        texts: Sequence[Sequence[str]],
        *,
        top_k: int = 5,
        max_answer_length: int = 10,
        spans_per_passage: int = 1,
        stride: int | None = None,
        batch_tokens: int | None = None,
    ) -> list[list[Answer]]: ...

    def answer(
        self,
        question: str | list[str],
        titles: Any,
        texts: Any,
        *,
        top_k: int = 5,
        max_answer_length: int = 10,
        spans_per_passage: int = 1,
        stride: int | None = None,
        batch_tokens: int | None = None,
    ) -> Any:
        """Find the best answers to a question, or to each of several questions.

        Args:
            question: a question; or a list of them, and then `titles` and `texts` hold one list a question.
            titles: the passages' titles; None or "" for a passage without one, and None in place of the list if none
                has one. A title that leaves no room for the text is cut.
            texts: the passages' texts.
            top_k: how many answers to return at most.
            max_answer_length: the longest answer, in tokens.
            spans_per_passage: how many answers one passage may have.
            stride: None truncates a passage that is too long for the model and sets `Answer.truncated`; a number reads
                it in windows that overlap by that many tokens.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.

        Returns:
            At most `top_k` answers, from the most relevant passage on, and from the best span on within a passage.
            For a list of questions, a list of such lists; one that is too long to leave room for a passage has no
            answers, and a warning names it.

        Raises:
            TypeError: an argument is no list, or an entry no string.
            ValueError: the only question has no passages or leaves no room for them, the numbers of titles and texts
                differ, or a bound is below 1.
        """
        for name, value in (
            ("top_k", top_k),
            ("max_answer_length", max_answer_length),
            ("spans_per_passage", spans_per_passage),
        ):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} is {value!r}, and must be an integer of at least 1")
        is_one = isinstance(question, str)
        requests = [_check_one(question, titles, texts)] if is_one else _check_requests(question, titles, texts)
        results = [
            best_answers(
                rows,
                logits,
                question_titles,
                question_texts,
                decode=self.tokenizer.batch_decode,
                top_k=top_k,
                max_answer_length=max_answer_length,
                spans_per_passage=spans_per_passage,
            )
            for (_, question_titles, question_texts), (rows, logits) in zip(
                requests, self._read_passages(requests, stride, batch_tokens, pass_over=not is_one), strict=True
            )
        ]
        return results[0] if is_one else results

    def rank(
        self,
        question: str,
        titles: Sequence[str | None] | None,
        texts: Sequence[str],
        *,
        batch_tokens: int | None = None,
    ) -> Logits:
        """Score how relevant each passage is to the question. Higher is better; only the order has a meaning.

        Returns:
            float32 (n,), in the order of the passages.

        Raises:
            ValueError: as `answer`.
        """
        ((_, logits),) = self._read_passages([_check_one(question, titles, texts)], None, batch_tokens)
        return np.asarray([relevance for _, _, relevance in logits], dtype=np.float32)

    def _read_passages(
        self, requests: Sequence[Request], stride: int | None, batch_tokens: int | None, pass_over: bool = False
    ) -> list[tuple[list[PassageRow], list[RowLogits]]]:
        """Return the rows of each question's passages, and the logits of each row.

        `pass_over`: warn of a question that leaves no room for its passages, which then have no rows.
        """
        rows: list[list[PassageRow]] = [[] for _ in requests]
        logits: dict[int, RowLogits] = {}
        for batch, outputs in self.run_rows(self._tokenize(requests, stride, rows, pass_over), batch_tokens):
            columns = (outputs["start_logits"], outputs["end_logits"], outputs["relevance_logits"].tolist())
            logits.update(zip(batch.positions.tolist(), zip(*columns, strict=True), strict=True))
        in_order = (logits[position] for position in range(len(logits)))
        return [(question_rows, [next(in_order) for _ in question_rows]) for question_rows in rows]

    def _tokenize(
        self, requests: Sequence[Request], stride: int | None, rows: list[list[PassageRow]], pass_over: bool
    ) -> Iterator[TokenizedRows]:
        """Tokenize a few passages at a time, and append their rows to `rows`, which has a list for each question."""
        for number, (question, titles, texts) in enumerate(requests):
            for first in range(0, len(texts), CHUNK):
                few = slice(first, first + CHUNK)
                try:
                    new = self.tokenizer.encode_passages(
                        question, titles[few], texts[few], self._max_length, stride=stride, first=first
                    )
                except NoRoomError as error:
                    if not pass_over:
                        raise
                    warnings.warn(f"question[{number}] is passed over: {error}", stacklevel=2)
                    break
                rows[number] += new
                yield TokenizedRows([row.input_ids for row in new])


def _check_request(question: Any, titles: Any, texts: Any, place: str = "") -> Request:
    """Return a question with its titles and texts; a single title or text makes a list of one, as in the tokenizer.

    `place` is the index of the question in a list, for errors.
    """
    if not isinstance(question, str):
        raise TypeError(f"question{place} is of type {type(question).__name__}: give a string")
    titles, texts = ([column] if isinstance(column, str) else column for column in (titles, texts))
    passages = check_strings(f"texts{place}", texts)
    named = check_titles(f"titles{place}", titles, len(passages))
    if len(named) != len(passages):
        raise ValueError(f"titles{place} has {len(named)} entries and texts {len(passages)}: give as many")
    return question, [reader_title(title) for title in named], passages


def _check_requests(questions: Any, titles: Any, texts: Any) -> list[Request]:
    """Return each question with its own titles and texts."""
    for name, values in (("titles", titles), ("texts", texts)):
        if isinstance(values, str):
            raise TypeError(f"{name} is one string: for a list of questions give a list of {name} for each")
    questions, texts = check_list("question", questions), check_list("texts", texts)
    titles = [None] * len(texts) if titles is None else check_list("titles", titles)
    if not len(questions) == len(titles) == len(texts):
        raise ValueError(
            f"there are {len(questions)} questions, {len(titles)} lists of titles and {len(texts)} lists of texts"
        )
    return [
        _check_request(*request, f"[{place}]")
        for place, request in enumerate(zip(questions, titles, texts, strict=True))
    ]


def _check_one(question: Any, titles: Any, texts: Any) -> Request:
    request = _check_request(question, titles, texts)
    if not request[2]:
        raise ValueError(f"texts is empty: the question {question!r} needs at least one passage")
    return request
