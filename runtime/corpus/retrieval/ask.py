"""Ask a question of an index: encode it, search, read the best passages, answer.

from dpr_export.runtime import DPRQuestionEncoder, DPRReader
from dpr_export.runtime.corpus.retrieval import ask
from dpr_export.runtime.corpus import PassageIndex

encoder, reader = DPRQuestionEncoder.from_pretrained("question-onnx"), DPRReader.from_pretrained("reader-onnx")
with PassageIndex.open("corpus/index") as index:
    ask("Who led the work?", encoder, index, reader).answers[0].text
"""

import time
from dataclasses import dataclass

from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Found, Question
from dpr_export.runtime.corpus.retrieval.search import check_width, found_by
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader

READ = 20  # passages that are read: the first code reads up to 100, which takes five times as long


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question was answered with.

    Attributes:
        answers: the answers, the best first; `Answer.passage` is a place in `found`.
        found: the passages that were read, the best first.
        seconds: how long each stage took: "encode", "search", "read".
    """

    answers: list[Answer]
    found: tuple[Found, ...]
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
) -> Reply:
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
        ValueError: the encoder's vectors have another width than the index's; a number below 1; an empty question.
    """
    check_width(encoder, index)
    if not question.strip():
        raise ValueError("question is empty")
    if passages < 1:
        raise ValueError(f"passages is {passages}, and must be at least 1")
    times = [time.perf_counter()]
    vectors = encoder.encode([question])
    times.append(time.perf_counter())
    (asked,) = found_by([Question(question)], vectors, index, passages)
    times.append(time.perf_counter())
    found = asked.found or ()
    answers = reader.answer(
        question,
        [each.title or "" for each in found],
        [each.text for each in found],
        top_k=top_k,
        max_answer_length=max_answer_length,
    )
    times.append(time.perf_counter())
    stages = zip(("encode", "search", "read"), times, times[1:], strict=False)
    return Reply(answers, found, {stage: end - start for stage, start, end in stages})
