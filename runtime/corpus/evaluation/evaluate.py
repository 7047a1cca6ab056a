"""How good exported models are on one's own data, each variant beside the others.

What is read depends on what there is: with encoders, the passages that they find; without, those that a retriever found
before, if the file has them; else each question's own paragraph. The answer is the best span of the passage that the
reader finds most relevant.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.artifact.resolve import open_exported_folder
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.corpus.evaluation.scores import TOP, Score, judge
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.corpus.retrieval.ask import READ
from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, QuestionSet, RetrievedPassage, read_questions
from dpr_export.runtime.corpus.retrieval.search import check_dimension, retrieve
from dpr_export.runtime.inference.encoders import DPRContextEncoder, DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader


@dataclass(frozen=True, slots=True)
class Models:
    """The folders of the models that are judged, or None for those that are not."""

    question_encoder: str | None = None
    context_encoder: str | None = None
    reader: str | None = None

    @property
    def folders(self) -> list[str]:
        """Those that there are."""
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
    tell: Callable[[str], None] = lambda _: None,
    watch: Callable[[str], None] = lambda _: None,
) -> Iterator[Score]:
    """Yield the score of each variant.

    Args:
        data: questions with their answers: SQuAD's .json, a retriever's .json, or the first code's .tsv.
        models: what is judged.
        passages: the passages to search, as `read_corpus` reads them, held in memory with their vectors; None: the
            file's own paragraphs.
        index: an index to search in place of passages; its vectors stay the same for every variant.
        variants: which, as "openvino-int8"; empty: every one that all folders hold and this machine can run.
        read: how many of the passages that were found the reader reads.
        max_answer_length: the longest answer, in tokens.
        threads: how many threads of the CPU to use.
        tell: is given a line for each variant that cannot be run here.
        watch: is given the name of each variant before it is judged.

    Raises:
        OSError: a file or folder cannot be read.
        ValueError: the file has no answers; what is needed for it is not given; or a number below 1.
        ImportError: a library that this needs is not installed.
    """
    for name, number in (("read", read), ("max_answer_length", max_answer_length)):
        if number < 1:
            raise ValueError(f"{name} is {number}, and must be at least 1")
    asked = read_questions(data)
    _check(str(data), asked, models, passages, index)
    named = _named(variants, _shared_variants(models.folders))
    rows = list(read_corpus(passages)) if passages else list(asked.passages)
    if passages and not rows:
        raise ValueError(f"{passages} holds no passages")
    with PassageIndex.open(index) if index else nullcontext() as opened:
        for variant in named:
            watch(variant)
            try:
                yield _score(variant, asked, models, rows, opened, read, max_answer_length, threads)
            except (ImportError, RuntimeError, ValueError) as error:
                if variants:
                    raise
                tell(f"{variant} is left out: {error}")


def _score(
    variant: str,
    asked: QuestionSet,
    models: Models,
    rows: Sequence[Passage],
    index: PassageIndex | None,
    read: int,
    max_answer_length: int,
    threads: int | None,
) -> Score:
    backend, _, precision = variant.partition("-")
    how: dict[str, Any] = {"backend": backend, "precision": precision, "threads": threads}
    questions, seconds = list(asked.questions), dict[str, float]()
    searched: int | None = None
    if models.question_encoder:
        searched = index.record.passages if index else len(rows)
        questions = _retrieved(questions, models, rows, index, how, seconds)
    answers: list[str] = []
    if models.reader:
        with DPRReader.from_pretrained(models.reader, **how) as reader:
            _answer(reader, asked, 0, questions[0], read, max_answer_length)  # engines compile at the first call
            with _timed("read", seconds):
                answers = [_answer(reader, asked, n, q, read, max_answer_length) for n, q in enumerate(questions)]
    most = max(1 if question.retrieved is None else len(question.retrieved[:read]) for question in questions)
    return judge(variant, questions, answers, searched, most if models.reader else None, seconds)


def _retrieved(
    questions: list[Question],
    models: Models,
    rows: Sequence[Passage],
    index: PassageIndex | None,
    how: dict[str, Any],
    seconds: dict[str, float],
) -> list[Question]:
    """The questions with the passages that the encoders find."""
    asked = [question.text for question in questions]
    with DPRQuestionEncoder.from_pretrained(str(models.question_encoder), **how) as encoder:
        if index is not None:
            check_dimension(encoder, index)
        encoder.encode(asked[:1])
        with _timed("encode", seconds):
            vectors = encoder.encode(asked)
    if index is not None:
        with _timed("search", seconds):
            return list(retrieve(questions, vectors, index, TOP[-1]))
    with DPRContextEncoder.from_pretrained(str(models.context_encoder), **how) as context:
        if context.config.dim != vectors.shape[1]:
            raise ValueError(
                f"the question encoder gives vectors of {vectors.shape[1]} numbers, and the context encoder of "
                f"{context.config.dim}: use two that were trained together"
            )
        corpus = context.encode([row.text for row in rows], [row.title for row in rows])
    with _timed("search", seconds):
        return [_nearest(question, vector, corpus, rows) for question, vector in zip(questions, vectors, strict=True)]


def _nearest(
    question: Question, vector: NDArray[np.float32], corpus: NDArray[np.float32], rows: Sequence[Passage]
) -> Question:
    scores = corpus @ vector
    places = np.argsort(-scores, kind="stable")[: TOP[-1]].tolist()
    nearest = tuple(RetrievedPassage(*rows[place], float(scores[place])) for place in places)
    return replace(question, retrieved=nearest)


def _answer(
    reader: DPRReader, asked: QuestionSet, place: int, question: Question, read: int, max_answer_length: int
) -> str:
    """What the reader answers, "" where there is nothing to read."""
    found: Sequence[Passage | RetrievedPassage] = question.retrieved[:read] if question.retrieved is not None else ()
    if question.retrieved is None:
        found = [asked.passages[asked.gold[place]]]
    if not found:
        return ""
    titles, texts = [each.title or "" for each in found], [each.text for each in found]
    answers = reader.answer(question.text, titles, texts, top_k=1, max_answer_length=max_answer_length)
    return answers[0].text if answers else ""


def _shared_variants(folders: Sequence[str]) -> tuple[str, ...]:
    """The variants that all folders hold, the first folder's order; fp32 first, which others are compared with."""
    held = [[f"{v.backend}-{v.precision}" for v in open_exported_folder(f).manifest.variants] for f in folders]
    shared = [name for name in dict.fromkeys(held[0]) if all(name in names for names in held)]
    if not shared:
        each = "; ".join(f"{folder}: {', '.join(names)}" for folder, names in zip(folders, held, strict=True))
        raise ValueError(f"the folders have no variant that all of them hold ({each})")
    return tuple(sorted(shared, key=lambda name: not name.endswith("-fp32")))


def _named(variants: Sequence[str], shared: tuple[str, ...]) -> tuple[str, ...]:
    """The variants that are asked for; all that are shared where none is.

    Raises:
        TypeError: `variants` is one string.
        ValueError: not all folders hold one.
    """
    if isinstance(variants, str):
        raise TypeError("variants is one string: give a list of strings")
    for name in variants:
        if name not in shared and name.replace("openvino-bf16", "openvino-fp32") not in shared:
            raise ValueError(f"variant is {name!r}, and the folders hold: {', '.join(shared)}")
    return tuple(dict.fromkeys(variants)) or shared


def _check(data: str, asked: QuestionSet, models: Models, passages: str | None, index: str | Path | None) -> None:
    """Refuse what cannot be judged, before anything is computed.

    Raises:
        ValueError: with what to give.
    """
    for folder, kind in zip((models.question_encoder, models.context_encoder, models.reader), KINDS, strict=True):
        if folder and (found := open_exported_folder(folder).manifest.kind) != kind:
            raise ValueError(f"{folder} holds a {found} model, and a {kind} model is needed there")
    given = asked.questions[0].retrieved is not None
    if lost := [place for place, each in enumerate(asked.questions, start=1) if (each.retrieved is not None) != given]:
        raise ValueError(f"{data}, question {lost[0]}, and question 1: one has passages (ctxs), and the other has none")
    if not models.folders:
        raise ValueError("there is nothing to judge: give --reader, --question-encoder, or both")
    if not all(question.answers for question in asked.questions):
        raise ValueError(f"{data} has questions without answers, so nothing can be judged")
    if not models.question_encoder:
        if models.context_encoder or passages or index:
            raise ValueError("passages are searched with a question encoder: give --question-encoder")
        if not given and not asked.gold:
            raise ValueError(f"{data} has no passages to read: give --question-encoder, and --passages or --index")
        return
    if models.context_encoder and index:
        raise ValueError("the index has the passages' vectors: give --context-encoder or --index, not both")
    if passages and index:
        raise ValueError("give --passages or --index, not both")
    if index is None:
        if not models.context_encoder:
            raise ValueError("passages are encoded with a context encoder: give --context-encoder, or --index")
        if not passages and not asked.passages:
            raise ValueError(f"{data} has no passages to search: give --passages or --index")


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
