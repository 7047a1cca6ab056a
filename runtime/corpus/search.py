"""Search an index: questions to the passages that answer them best."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.corpus.index import PassageIndex
from dpr_export.runtime.corpus.questions import Found, Question
from dpr_export.runtime.encoders import DPRQuestionEncoder


def search(
    questions: Sequence[Question], encoder: DPRQuestionEncoder, index: PassageIndex, top_k: int = 100
) -> list[Question]:
    """Find the passages of each question, the best first.

    Args:
        questions: the questions.
        encoder: the question encoder that belongs to the index's context encoder.
        index: the index.
        top_k: how many passages to find for each.

    Returns:
        The questions, with what was found.

    Raises:
        ValueError: the encoder's vectors have another width than the index's.
    """
    check_width(encoder, index)
    return found_by(questions, encoder.encode([question.text for question in questions]), index, top_k)


def found_by(
    questions: Sequence[Question], vectors: NDArray[np.float32], index: PassageIndex, top_k: int
) -> list[Question]:
    """The questions with what is found for their vectors, float32 (n, dim)."""
    results = []
    for question, scores, positions in zip(questions, *index.search(vectors, top_k), strict=True):
        there = positions[positions >= 0].tolist()
        rows = index.passages(there)
        found = tuple(Found(*row, float(score)) for row, score in zip(rows, scores, strict=False))
        results.append(replace(question, found=found))
    return results


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
