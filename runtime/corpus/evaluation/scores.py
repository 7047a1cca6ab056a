"""What is right of what was found and answered: question by question, and for a whole variant.

A retriever is judged by top-k accuracy: of the questions that have an answer, the share that have a passage with it
among the first k, by the first DPR code's matching. A reader is judged by exact match and F1, by SQuAD's official
rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.retrieval.answer_matching import matching_tokens
from dpr_export.runtime.corpus.retrieval.questions import Question

TOP = (1, 5, 20, 100)


@dataclass(frozen=True, slots=True)
class Judged:
    """One question.

    Attributes:
        question: the question.
        right: the right answers.
        rank: the place of the first passage that holds one, from 1; None where none was found that does.
        answer: the reader's answer; None without a reader.
        exact_match, f1: how right that is; None without a reader.
    """

    question: str
    right: tuple[str, ...]
    rank: int | None
    answer: str | None
    exact_match: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """How good one variant is.

    Attributes:
        variant: the variant, as "openvino-int8".
        questions: how many questions it was asked.
        searched: how many passages there were to search; None without a retriever, or where one has searched before.
        read: how many passages the reader read for each, at the most; None without a reader.
        top_k: of those that have an answer, the share with one among the first k passages, by k; empty without a
            retriever.
        exact_match: the share that the reader answers exactly right; None without a reader.
        f1: the mean F1 of its answers; None without a reader.
        milliseconds: how long each stage took for a question: "encode", "search", "read".
        judged: each question, in order.
    """

    variant: str
    questions: int
    searched: int | None
    read: int | None
    top_k: dict[int, float]
    exact_match: float | None
    f1: float | None
    milliseconds: dict[str, float]
    judged: tuple[Judged, ...]


def judge(
    variant: str,
    questions: Sequence[Question],
    answers: Sequence[str],
    searched: int | None,
    read: int | None,
    seconds: dict[str, float],
) -> Score:
    """Judge what a variant found and answered.

    Args:
        variant: its name.
        questions: the questions, with what was found for them, if a retriever has looked.
        answers: the reader's answer to each; empty without a reader.
        searched, read: as `Score` has them.
        seconds: how long each stage took for all of them.
    """
    judged = tuple(_judged(q, answers[place] if answers else None) for place, q in enumerate(questions))
    return Score(
        variant,
        len(questions),
        searched,
        read,
        _top_k(questions, judged, searched),
        float(np.mean([each.exact_match for each in judged])) if answers else None,
        float(np.mean([each.f1 for each in judged])) if answers else None,
        {stage: 1000 * each / len(questions) for stage, each in seconds.items()},
        judged,
    )


def _judged(question: Question, answer: str | None) -> Judged:
    right = [matching_tokens(each) for each in _real(question)]
    held = (any(each in _tokens(found.text) for each in right) for found in question.retrieved or ())
    return Judged(
        question.text,
        question.answers,
        next((rank for rank, holds in enumerate(held, start=1) if holds), None),
        answer,
        None if answer is None else best_score(exact_match, answer, question.answers),
        None if answer is None else best_score(f1, answer, question.answers),
    )


def _top_k(questions: Sequence[Question], judged: Sequence[Judged], searched: int | None) -> dict[int, float]:
    """The share with a right answer among the first k passages, for each k that there are passages for.

    A question without an answer (SQuAD 2 has such) does not count: every passage would be right.
    """
    ranks = [each.rank for each, question in zip(judged, questions, strict=True) if _real(question)]
    if questions[0].retrieved is None or not ranks:
        return {}
    most = max(len(question.retrieved or ()) for question in questions) if searched is None else searched
    return {k: float(np.mean([rank is not None and rank <= k for rank in ranks])) for k in TOP if k <= max(most, 1)}


def _real(question: Question) -> list[str]:
    return [answer for answer in question.answers if answer.strip()]


@lru_cache(maxsize=100_000)
def _tokens(text: str) -> str:
    """As `matching_tokens`, once for a passage that many questions find."""
    return matching_tokens(text)
