"""Search an index: questions to the passages that answer them best."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Found, Question
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder


def search(
    questions: Sequence[Question | str], encoder: DPRQuestionEncoder, index: PassageIndex, top_k: int = 100
) -> list[Question]:
    """Find the passages of each question, the best first.

    Args:
        questions: the questions, or their texts.
        encoder: the question encoder that belongs to the index's context encoder.
        index: the index.
        top_k: how many passages to find for each.

    Returns:
        The questions, with what was found.

    Raises:
        TypeError: `questions` is one string.
        ValueError: the encoder's vectors have another width than the index's; or `top_k` is below 1.
    """
    if isinstance(questions, str):
        raise TypeError("questions is one string: give a list of strings")
    check_width(encoder, index)
    asked = [Question(each) if isinstance(each, str) else each for each in questions]
    return list(found_by(asked, encoder.encode([question.text for question in asked]), index, top_k))


def found_by(
    questions: Sequence[Question], vectors: NDArray[np.float32], index: PassageIndex, top_k: int
) -> Iterator[Question]:
    """Yield the questions with what is found for their vectors, float32 (n, dim)."""
    for question, scores, positions in zip(questions, *index.search(vectors, top_k), strict=True):
        there = positions[positions >= 0].tolist()
        rows = index.passages(there)
        found = tuple(Found(*row, float(score)) for row, score in zip(rows, scores, strict=False))
        yield replace(question, found=found)


def check_width(encoder: DPRQuestionEncoder, index: PassageIndex) -> None:
    """Refuse an encoder that cannot belong to an index.

    Raises:
        ValueError: its vectors have another width.
    """
    ours, theirs = encoder.config.dim, index.record.encoder.dim
    if ours != theirs:
        raise ValueError(
            f"the question encoder gives vectors of {ours} numbers, and the index, of {index.record.encoder.name}, has "
            f"{theirs}: use the question encoder that was trained with it"
        )
