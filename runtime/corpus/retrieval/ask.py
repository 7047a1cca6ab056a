"""Ask a question of an index: encode the question, search, read the best passages, answer.

encoder, reader = DPRQuestionEncoder.from_pretrained("question-onnx"), DPRReader.from_pretrained("reader-onnx")
with PassageIndex.open("corpus/index") as index:
    ask("Who led the work?", encoder, index, reader).answers[0].text
"""

import time
from dataclasses import dataclass

import numpy as np

from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, RetrievedPassage
from dpr_export.runtime.corpus.retrieval.search import check_dimension, retrieve
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader

READ = 20  # passages to read; facebookresearch/DPR reads up to 100, which takes five times as long


@dataclass(frozen=True, slots=True)
class AskResult:
    """The answers to a question.

    Attributes:
        answers: the answers, the best first; `Answer.passage` is a position in `retrieved`.
        retrieved: the passages that were read, the best first.
        seconds: how long each stage took: "encode", "search", "read".
    """

    answers: list[Answer]
    retrieved: tuple[RetrievedPassage, ...]
    seconds: dict[str, float]


def ask(
    question: str,
    encoder: DPRQuestionEncoder,
    index: PassageIndex,
    reader: DPRReader,
    *,
    passages: int = READ,
    top_k: int = 5,
    max_answer_length: int = 10,
) -> AskResult:
    """Answer a question from the passages of an index.

    Args:
        question: the question.
        encoder: the question encoder that belongs to the index's context encoder.
        index: the index.
        reader: the reader.
        passages: how many passages to read.
        top_k: how many answers to give at most.
        max_answer_length: the longest answer, in tokens.

    Raises:
        ValueError: the encoder's dimension is not the index's, a number is below 1, or the question is empty.
    """
    check_dimension(encoder, index)
    if not question.strip():
        raise ValueError("question is empty")
    if passages < 1:
        raise ValueError(f"passages is {passages}, and must be at least 1")
    times = [time.perf_counter()]
    vectors = encoder.encode([question])
    times.append(time.perf_counter())
    (result,) = retrieve([Question(question)], vectors, index, passages)
    times.append(time.perf_counter())
    retrieved = result.retrieved or ()
    answers = reader.answer(
        question,
        [each.title or "" for each in retrieved],
        [each.text for each in retrieved],
        top_k=top_k,
        max_answer_length=max_answer_length,
    )
    times.append(time.perf_counter())
    seconds = dict(zip(("encode", "search", "read"), np.diff(times).tolist(), strict=True))
    return AskResult(answers, retrieved, seconds)
