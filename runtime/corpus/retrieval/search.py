"""Search an index: retrieve the passages that answer a question best."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, RetrievedPassage
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder


def search(
    questions: Sequence[Question | str], encoder: DPRQuestionEncoder, index: PassageIndex, top_k: int = 100
) -> list[Question]:
    """Retrieve passages for each question.

    Args:
        questions: the questions, or their texts.
        encoder: the question encoder that belongs to the index's context encoder.
        index: the index.
        top_k: how many passages to retrieve for each.

    Returns:
        The questions with their passages, the best first.

    Raises:
        TypeError: `questions` is one string.
        ValueError: the encoder's dimension is not the index's, or `top_k` is below 1.
    """
    if isinstance(questions, str):
        raise TypeError("questions is one string: give a list of strings")
    check_dimension(encoder, index)
    asked = [Question(each) if isinstance(each, str) else each for each in questions]
    return list(retrieve(asked, encoder.encode([question.text for question in asked]), index, top_k))


def retrieve(
    questions: Sequence[Question], vectors: NDArray[np.float32], index: PassageIndex, top_k: int
) -> Iterator[Question]:
    """Yield each question with the passages that are found for its vector; `vectors` is float32 (n, dim)."""
    for question, scores, positions in zip(questions, *index.search(vectors, top_k), strict=True):
        passages = index.passages(positions[positions >= 0].tolist())
        retrieved = tuple(RetrievedPassage(*each, float(score)) for each, score in zip(passages, scores, strict=False))
        yield replace(question, retrieved=retrieved)


def check_dimension(encoder: DPRQuestionEncoder, index: PassageIndex) -> None:
    """Check that a question encoder's dimension is the index's.

    Raises:
        ValueError: it is another.
    """
    ours, theirs = encoder.config.dim, index.record.encoder.dim
    if ours != theirs:
        raise ValueError(
            f"the question encoder has dimension {ours}, and the index of {index.record.encoder.name} has {theirs}: "
            "use the question encoder that was trained with that context encoder"
        )
