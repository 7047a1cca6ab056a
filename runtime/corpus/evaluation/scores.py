"""Score retrieval results and answers: for each question, and for a whole variant.

A retriever is scored by top-k accuracy: the share of the questions with an answer that have a passage containing it
among the first k, by facebookresearch/DPR's rule. A reader is scored by exact match and F1, by SQuAD's official rules.
If the answers are regular expressions, exact match counts answers that one of them matches from the start, by DrQA's
rule, and there is no F1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpr_export.runtime.corpus.evaluation.squad_metrics import best_score, exact_match, f1
from dpr_export.runtime.corpus.retrieval.answer_matching import begins_with_answer, make_matcher
from dpr_export.runtime.corpus.retrieval.questions import Question

TOP_K = (1, 5, 20, 100)


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """The score of one question.

    `rank` is that of the first passage that contains a right answer, from 1; None if no retrieved passage does. The
    reader's answer, and how right it is, are None without a reader, and F1 if the answers are regular expressions.
    """

    question: str
    right_answers: tuple[str, ...]
    rank: int | None
    answer: str | None
    exact_match: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one variant.

    Attributes:
        variant: the variant, as "openvino-int8".
        questions: how many questions there were.
        searched: how many passages were searched; None without a retriever, or if its results came with the questions.
        read: how many passages the reader read for each question, at most; None without a reader.
        top_k: top-k accuracy by k; empty without a retriever.
        exact_match: the share of questions that the reader answers exactly right; None without a reader.
        f1: the mean F1 of its answers; None without a reader, or if the right answers are regular expressions.
        milliseconds: how long each stage took for one question: "encode", "search", "read".
        scores: the score of each question, in order.
    """

    variant: str
    questions: int
    searched: int | None
    read: int | None
    top_k: dict[int, float]
    exact_match: float | None
    f1: float | None
    milliseconds: dict[str, float]
    scores: tuple[QuestionScore, ...]


def score_variant(
    variant: str,
    questions: Sequence[Question],
    answers: Sequence[str],
    searched: int | None,
    read: int | None,
    seconds: dict[str, float],
    match: str = "string",
) -> Score:
    """Score a variant: the retrieval results that questions have, and the answers, which are empty without a reader.

    `seconds` is how long each stage took for all questions, and `match` one of MATCHES; the other arguments are as in
    `Score`.
    """
    scores = tuple(_score_question(q, answers[n] if answers else None, match) for n, q in enumerate(questions))
    return Score(
        variant,
        len(questions),
        searched,
        read,
        _top_k(questions, scores, searched),
        float(np.mean([each.exact_match for each in scores])) if answers else None,
        float(np.mean([each.f1 for each in scores])) if answers and match == "string" else None,
        {stage: 1000 * each / len(questions) for stage, each in seconds.items()},
        scores,
    )


def _score_question(question: Question, answer: str | None, match: str) -> QuestionScore:
    answers = _without_empty(question.answers)
    contains = map(make_matcher(answers, match), (passage.text for passage in question.retrieved or ()))
    exact: float | None = None
    overlap: float | None = None
    if answer is not None and match == "regex":
        exact = float(begins_with_answer(answer, answers))
    elif answer is not None:
        exact, overlap = (best_score(metric, answer, question.answers) for metric in (exact_match, f1))
    return QuestionScore(
        question.text,
        question.answers,
        next((rank for rank, is_hit in enumerate(contains, start=1) if is_hit), None),
        answer,
        exact,
        overlap,
    )


def _top_k(questions: Sequence[Question], scores: Sequence[QuestionScore], searched: int | None) -> dict[int, float]:
    """Top-k accuracy, for each k of TOP_K up to the number of passages.

    A question without an answer (SQuAD 2 has such) does not count: every passage would be a hit.
    """
    ranks = [score.rank for score in scores if _without_empty(score.right_answers)]
    if questions[0].retrieved is None or not ranks:
        return {}
    most = max(len(question.retrieved or ()) for question in questions) if searched is None else searched
    return {k: float(np.mean([rank is not None and rank <= k for rank in ranks])) for k in TOP_K if k <= max(most, 1)}


def _without_empty(answers: Sequence[str]) -> list[str]:
    return [answer for answer in answers if answer.strip()]
