"""Evaluate exported models on one's own questions, one variant beside another.

The reader reads the passages that the encoders retrieve; without encoders, the retrieval results in the file; without
those, the paragraph of each question. Its answer is the best span of the passage that it finds most relevant.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import KINDS
from dpr_export.models.tokenization.reader_tokenizer import NoRoomError
from dpr_export.runtime.corpus.evaluation.scores import TOP_K, Score, score_variant
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.corpus.retrieval.answer_matching import check_match
from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import (
    Question,
    QuestionSet,
    RetrievedPassage,
    find_invalid_answers,
    read_questions,
)
from dpr_export.runtime.corpus.retrieval.search import READ, check_encoder, read_passages, retrieve
from dpr_export.runtime.corpus.retrieval.similarity import check_pair, similarity_of, to_inner_product
from dpr_export.runtime.corpus.timing import timed
from dpr_export.runtime.inference.encoders import DPRContextEncoder, DPRQuestionEncoder, Vectors
from dpr_export.runtime.inference.reader import DPRReader


@dataclass(frozen=True, slots=True)
class Models:
    """The exported folders of the models to evaluate; None for those that are not."""

    question_encoder: str | None = None
    context_encoder: str | None = None
    reader: str | None = None

    @property
    def folders(self) -> list[str]:
        """The folders that are given."""
        return [folder for folder in (self.question_encoder, self.context_encoder, self.reader) if folder]


def evaluate(
    data: str | Path,
    models: Models,
    *,
    passages: str | None = None,
    index: str | Path | None = None,
    variants: Sequence[str] = (),
    read: int = READ,
    max_answer_length: int = 10,
    threads: int | None = None,
    match: str = "string",
    normalize: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[str], None] = lambda _: None,
) -> Iterator[Score]:
    """Yield the score of each variant.

    Args:
        data: questions with their answers, as `read_questions` reads them.
        models: the models to evaluate.
        passages: a file of passages to search, which are held in memory with their vectors; None: the paragraphs of
            `data`.
        index: an index to search instead of passages; it has the same vectors for every variant.
        variants: the variants, as "openvino-int8"; empty: all that every folder holds and this machine can run.
        read: how many of the retrieved passages the reader reads.
        max_answer_length: the longest answer, in tokens.
        threads: how many CPU threads to use.
        match: how a passage is matched with the answers: "string", or "regex" if they are regular expressions, as
            CuratedTREC's are.
        normalize: write ’ as ' in questions before they are encoded, as facebookresearch/DPR does.
        tell: is called with a line of text for each variant that cannot run here, for each question that is too long
            for the reader (its answer is then ""), and for each answer that is no regular expression.
        watch: is called with the name of each variant before it is evaluated.

    Raises:
        OSError: a file or folder cannot be read.
        ValueError: a question has no answer, an argument is missing or contradicts another, or a number is below 1.
        ImportError: a library that this needs is not installed.
    """
    for name, number in (("read", read), ("max_answer_length", max_answer_length)):
        if number < 1:
            raise ValueError(f"{name} is {number}, and must be at least 1")
    check_match(match)
    questions = read_questions(data, normalize=normalize)
    _check_arguments(str(data), questions, models, passages, index)
    for problem in find_invalid_answers(questions.questions) if match == "regex" else ():
        tell(f"{data}, {problem}")
    selected = _select_variants(variants, models.folders)
    corpus = list(read_corpus(passages, tell=tell)) if passages else list(questions.passages)
    if passages and not corpus:
        raise ValueError(f"{passages} holds no passages")
    with PassageIndex.open(index) if index else nullcontext() as opened:
        run = _Evaluation(questions, models, corpus, opened, read, max_answer_length, threads, match, tell)
        for variant in selected:
            watch(variant)
            try:
                yield run.score(variant)
            except (ImportError, RuntimeError, ValueError) as error:
                if variants:
                    raise
                tell(f"{variant} is skipped: {error}")


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Everything that is the same for each variant."""

    data: QuestionSet
    models: Models
    corpus: Sequence[Passage]
    index: PassageIndex | None
    read: int
    max_answer_length: int
    threads: int | None
    match: str
    tell: Callable[[str], None]

    def score(self, variant: str) -> Score:
        """Retrieve, read and score with one variant."""
        backend, _, precision = variant.partition("-")
        how: dict[str, Any] = {"backend": backend, "precision": precision, "threads": self.threads}
        questions, seconds = list(self.data.questions), dict[str, float]()
        searched: int | None = None
        if self.models.question_encoder:
            searched = self.index.record.passages if self.index else len(self.corpus)
            questions = self._retrieve(questions, how, seconds)
        passages: list[Sequence[Passage | RetrievedPassage]] = [
            [self.data.passages[self.data.gold[number]]] if each.retrieved is None else each.retrieved[: self.read]
            for number, each in enumerate(questions)
        ]
        answers: list[str] = []
        if self.models.reader:
            with DPRReader.from_pretrained(self.models.reader, **how) as reader:
                with suppress(NoRoomError):
                    self._answer(reader, questions[0], passages[0])  # engines compile at the first call
                with timed(seconds, "read"):
                    answers = [self._try_to_answer(reader, *each) for each in zip(questions, passages, strict=True)]
        most = max(1, *map(len, passages)) if self.models.reader else None
        return score_variant(variant, questions, answers, searched, most, seconds, self.match)

    def _retrieve(self, questions: list[Question], how: dict[str, Any], seconds: dict[str, float]) -> list[Question]:
        texts = [question.text for question in questions]
        with DPRQuestionEncoder.from_pretrained(str(self.models.question_encoder), **how) as encoder:
            if self.index is not None:
                check_encoder(encoder, self.index)
            encoder.encode(texts[:1])  # engines compile at the first call
            with timed(seconds, "encode"):
                vectors = encoder.encode(texts)
        if self.index is not None:
            with timed(seconds, "search"):
                return list(retrieve(questions, vectors, self.index, TOP_K[-1]))
        with DPRContextEncoder.from_pretrained(str(self.models.context_encoder), **how) as context:
            similarity = similarity_of(context)
            check_pair(encoder, context.config.dim, similarity, "the context encoder")
            passage_vectors = context.encode([each.text for each in self.corpus], [each.title for each in self.corpus])
        passage_vectors = to_inner_product(passage_vectors, similarity)
        with timed(seconds, "search"):
            vectors = to_inner_product(vectors, similarity)
            return [self._nearest(*each, passage_vectors) for each in zip(questions, vectors, strict=True)]

    def _nearest(self, question: Question, vector: Vectors, passage_vectors: Vectors) -> Question:
        scores = passage_vectors @ vector
        positions: list[int] = np.argsort(-scores, kind="stable")[: TOP_K[-1]].tolist()
        nearest = tuple(RetrievedPassage(*self.corpus[position], float(scores[position])) for position in positions)
        return replace(question, retrieved=nearest)

    def _answer(self, reader: DPRReader, question: Question, passages: Sequence[Passage | RetrievedPassage]) -> str:
        """The reader's best answer; "" if there is none."""
        answers = read_passages(reader, question.text, passages, 1, self.max_answer_length) if passages else []
        return answers[0].text if answers else ""

    def _try_to_answer(
        self, reader: DPRReader, question: Question, passages: Sequence[Passage | RetrievedPassage]
    ) -> str:
        """As `_answer`; "" too if the question is too long, which is told."""
        try:
            return self._answer(reader, question, passages)
        except NoRoomError as error:
            self.tell(f"the question {question.text[:40]!r}... gets no answer: {error}")
            return ""


def _select_variants(named: Sequence[str], folders: Sequence[str]) -> Sequence[str]:
    """The variants that are named, or all that the folders share; fp32, which others are compared with, first."""
    if isinstance(named, str):
        raise TypeError("variants is one string: give a list of strings")
    names_of = [[f"{v.backend}-{v.precision}" for v in open_exported_folder(f).manifest.variants] for f in folders]
    shared = [name for name in dict.fromkeys(names_of[0]) if all(name in names for names in names_of)]
    if not shared:
        each = "; ".join(f"{folder}: {', '.join(names)}" for folder, names in zip(folders, names_of, strict=True))
        raise ValueError(f"no variant is in all folders ({each})")
    shared.sort(key=lambda name: not name.endswith("-fp32"))
    for name in named:
        if name not in shared and name.replace("openvino-bf16", "openvino-fp32") not in shared:
            raise ValueError(f"variant is {name!r}, and all folders hold: {', '.join(shared)}")
    return list(dict.fromkeys(named)) or shared


def _check_arguments(
    data: str, questions: QuestionSet, models: Models, passages: str | None, index: str | Path | None
) -> None:
    """Check before anything is computed that models, questions and passages belong together."""
    for folder, kind in zip((models.question_encoder, models.context_encoder, models.reader), KINDS, strict=True):
        if folder and (actual := open_exported_folder(folder).manifest.kind) != kind:
            raise ValueError(f"{folder} holds a {actual} model, and must hold a {kind} model")
    has_results = questions.questions[0].retrieved is not None
    for number, question in enumerate(questions.questions, start=1):
        if (question.retrieved is not None) != has_results:
            raise ValueError(f"{data}: question 1 or question {number} has passages (ctxs), and the other has none")
        if not question.answers:
            raise ValueError(f"{data}, question {number}: no answers, so nothing can be evaluated")
    if not models.folders:
        raise ValueError("there is nothing to evaluate: give --reader, --question-encoder, or both")
    if not models.question_encoder:
        if models.context_encoder or passages or index:
            raise ValueError("to search passages, give --question-encoder")
        if not has_results and not questions.gold:
            raise ValueError(f"{data} has no passages to read: give --question-encoder, and --passages or --index")
        return
    if models.context_encoder and index:
        raise ValueError("the index holds the passages' vectors: give --context-encoder or --index, not both")
    if passages and index:
        raise ValueError("give --passages or --index, not both")
    if index is None:
        if not models.context_encoder:
            raise ValueError("to encode passages, give --context-encoder; or give --index")
        if not passages and not questions.passages:
            raise ValueError(f"{data} has no passages to search: give --passages or --index")
