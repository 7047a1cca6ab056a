"""The reader: a question and passages to answers, and the original's call.

    from dpr_export.runtime import DPRReader
    reader = DPRReader.from_pretrained("reader-onnx")
    answers = reader.answer("Who wrote Hamlet?", titles=["Hamlet"], texts=["Hamlet is a play by Shakespeare."])
    answers[0].text                                                                          # "Shakespeare"

`answer` differs from the original's `decode_best_spans` in three ways. It looks for spans within the passage text
alone, by positions recorded when tokenizing, where the original may answer with a piece of the title. It gives each
answer as a piece of the passage as it was written, widened to whole words. And it ranks passages against each other by
relevance, with one span each, unless told otherwise.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from itertools import count
from numbers import Integral
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.kinds import READER, Kind
from dpr_export.models.tokenization.reader_tokenizer import PassageRow
from dpr_export.runtime.inference.answers import Answer, best_answers
from dpr_export.runtime.inference.batching import Rows
from dpr_export.runtime.inference.model import DPRModel

Logits = NDArray[np.float32]
RowLogits = tuple[Logits, Logits, float]
Asked = tuple[str, list[str], list[str]]
Read = tuple[list[PassageRow], list[RowLogits]]
CHUNK = 64  # passages that are tokenized at a time, while those before them are computed


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
        """Compute the logits of tokenized passages, as the original's call does.

        Args:
            input_ids: integers (passages, sequence): a list, a NumPy array, or a torch tensor (then outputs are too);
                or all arguments, as a dictionary or as a list in this order.
            attention_mask: zeros and ones (passages, sequence); None attends to everything, padding included.
            inputs_embeds: floats (passages, sequence, hidden) in place of input_ids; of folders exported with
                --inputs-embeds.
            output_attentions, output_hidden_states: whether to return those too; of folders exported with them. None:
                as the configuration says.
            return_dict: False for a plain tuple; None: as the configuration says.

        Returns:
            DPRReaderOutput, with start_logits and end_logits float32 (passages, sequence) and relevance_logits
            (passages,); or a tuple.

        Raises:
            ValueError: an argument of a wrong type, shape or value; the message names it.
            IndexError: an id outside the vocabulary.
            RuntimeError: the model is closed.
        """
        return self._call(
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "inputs_embeds": inputs_embeds,
                "output_attentions": output_attentions,
                "output_hidden_states": output_hidden_states,
                "return_dict": return_dict,
            }
        )

    @overload
    def answer(
        self,
        question: str,
        titles: Sequence[str],
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
        titles: Sequence[Sequence[str]],
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
        """The best answers to a question, or to each of several questions.

        Args:
            question: a question; or a list of them, and then `titles` and `texts` hold one list a question.
            titles: the passages' titles.
            texts: the passages' texts.
            top_k: how many answers to give at most.
            max_answer_length: the longest answer, in tokens.
            spans_per_passage: how many answers one passage may give.
            stride: None cuts a passage that is longer than the model reads (`Answer.truncated` says so); a number
                reads it in windows that overlap by as many tokens.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.

        Returns:
            At most `top_k` answers: the most relevant passage's first, within a passage the best span first. For a
            list of questions, a list of such lists.

        Raises:
            ValueError: no passages, as many titles as texts are needed, a bound below 1, or a question and title that
                leave no room for the passage.
        """
        for name, value in (
            ("top_k", top_k),
            ("max_answer_length", max_answer_length),
            ("spans_per_passage", spans_per_passage),
        ):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} is {value!r}, and must be an integer of at least 1")
        one = isinstance(question, str)
        questions = [question] if isinstance(question, str) else question
        asked = _asked(questions, [titles] if one else titles, [texts] if one else texts)
        results: list[list[Answer]] = []
        for (_, question_titles, question_texts), (rows, logits) in zip(
            asked, self._read(asked, stride, batch_tokens), strict=True
        ):
            results.append(
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
            )
        return results[0] if one else results

    def rank(
        self, question: str, titles: Sequence[str], texts: Sequence[str], *, batch_tokens: int | None = None
    ) -> Logits:
        """How relevant each passage is to the question: higher is better, and only the order means anything.

        Returns:
            float32 (n,), in the order of the passages.

        Raises:
            ValueError: as `answer`.
        """
        ((_, logits),) = self._read(_asked([question], [titles], [texts]), None, batch_tokens)
        return np.asarray([relevance for _, _, relevance in logits], dtype=np.float32)

    def _read(self, asked: Sequence[Asked], stride: int | None, batch_tokens: int | None) -> list[Read]:
        """The rows of each question's passages, and each row's start logits, end logits and relevance."""
        rows: list[list[PassageRow]] = [[] for _ in asked]
        found: dict[int, RowLogits] = {}
        for batch, outputs in self._run_rows(self._tokenized(asked, stride, rows), batch_tokens):
            for index, position in enumerate(batch.positions.tolist()):
                found[position] = (
                    outputs["start_logits"][index],
                    outputs["end_logits"][index],
                    float(outputs["relevance_logits"][index]),
                )
        place = count()
        return [(its, [_cut(found[next(place)], len(row.input_ids)) for row in its]) for its in rows]

    def _tokenized(self, asked: Sequence[Asked], stride: int | None, rows: list[list[PassageRow]]) -> Iterator[Rows]:
        """Tokenize a few passages at a time, and keep their rows in `rows`, a list for each question."""
        limit = min(self.config.max_position_embeddings, self.tokenizer.model_max_length)
        done = 0
        for its_rows, (question, titles, texts) in zip(rows, asked, strict=True):
            for first in range(0, len(texts), CHUNK):
                few = slice(first, first + CHUNK)
                new = self.tokenizer.encode_passages(
                    question, titles[few], texts[few], limit, stride=stride, first=first
                )
                its_rows += new
                yield Rows(done, [row.input_ids for row in new])
                done += len(new)


def _cut(logits: RowLogits, length: int) -> RowLogits:
    """A row's logits without its padding."""
    return logits[0][:length], logits[1][:length], logits[2]


def _asked(questions: list[str], titles: Any, texts: Any) -> list[Asked]:
    """Each question with its own titles and texts, checked."""
    for name, given in (("question", questions), ("titles", titles), ("texts", texts)):
        if isinstance(given, str):
            raise TypeError(f"{name} is one string: for a list of questions give a list of {name} for each")
        _check_listed(name, given)
    if not len(questions) == len(titles) == len(texts):
        raise ValueError(
            f"there are {len(questions)} questions, {len(titles)} lists of titles and {len(texts)} lists of texts"
        )
    each = zip(questions, titles, texts, strict=True)
    asked = [(question, _listed("titles", its), _listed("texts", own)) for question, its, own in each]
    for question, its_titles, its_texts in asked:
        if not isinstance(question, str):
            raise TypeError(f"question is of type {type(question).__name__}: give a string")
        if len(its_titles) != len(its_texts):
            raise ValueError(f"titles has {len(its_titles)} entries and texts {len(its_texts)}: give as many")
        if not its_texts:
            raise ValueError(f"texts is empty: the question {question!r} needs at least one passage")
    return asked


def _listed(name: str, given: Any) -> list[str]:
    """A string is a list of one, as it is to the tokenizer."""
    if isinstance(given, str):
        return [given]
    _check_listed(name, given)
    return list(given)


def _check_listed(name: str, given: Any) -> None:
    """Arrays and columns of tables are lists too; what has no order of its own is none."""
    if not isinstance(given, Collection) or isinstance(given, (Set, Mapping)) or getattr(given, "ndim", 1) == 0:
        raise TypeError(f"{name} is of type {type(given).__name__}: give a list")
