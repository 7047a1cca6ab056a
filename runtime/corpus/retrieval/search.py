"""Search an index: retrieve the passages that answer a question best, and read its answers in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, RetrievedPassage
from dpr_export.runtime.corpus.retrieval.similarity import check_pair
from dpr_export.runtime.corpus.timing import timed
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder, Vectors
from dpr_export.runtime.inference.reader import DPRReader
from dpr_export.runtime.inference.texts import check_list

READ = 20  # passages to read; facebookresearch/DPR reads up to 100, which takes five times as long


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
        TypeError: `questions` is one string, or no list.
        ValueError: the encoder's dimension or similarity is not the index's, or `top_k` is below 1.
    """
    asked = [Question(each) if isinstance(each, str) else each for each in check_list("questions", questions)]
    check_encoder(encoder, index)
    return list(retrieve(asked, encoder.encode([question.text for question in asked]), index, top_k))


def retrieve(questions: Sequence[Question], vectors: Vectors, index: PassageIndex, top_k: int) -> Iterator[Question]:
    """Yield each question with the passages that are found for its vector; `vectors` is float32 (n, dim)."""
    for question, scores, positions in zip(questions, *index.search(vectors, top_k), strict=True):
        passages = index.passages(positions[positions >= 0].tolist())
        retrieved = tuple(RetrievedPassage(*each, float(score)) for each, score in zip(passages, scores, strict=False))
        yield replace(question, retrieved=retrieved)


def check_encoder(encoder: DPRQuestionEncoder, index: PassageIndex) -> None:
    """Check that a question encoder's dimension and similarity are the index's."""
    made_by = index.record.encoder
    check_pair(encoder, made_by.dim, made_by.similarity, f"the index of {made_by.name}")


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
        ValueError: the encoder's dimension or similarity is not the index's, a number is below 1, or the question is
            empty.
    """
    check_encoder(encoder, index)
    if not question.strip():
        raise ValueError("question is empty")
    if passages < 1:
        raise ValueError(f"passages is {passages}, and must be at least 1")
    seconds: dict[str, float] = {}
    with timed(seconds, "encode"):
        vectors = encoder.encode([question])
    with timed(seconds, "search"):
        (result,) = retrieve([Question(question)], vectors, index, passages)
    retrieved = result.retrieved or ()
    with timed(seconds, "read"):
        answers = read_passages(reader, question, retrieved, top_k, max_answer_length)
    return AskResult(answers, retrieved, seconds)


def read_passages(
    reader: DPRReader, question: str, passages: Sequence[Passage | RetrievedPassage], top_k: int, max_answer_length: int
) -> list[Answer]:
    """`DPRReader.answer` for passages with or without titles."""
    titles, texts = [each.title for each in passages], [each.text for each in passages]
    return reader.answer(question, titles, texts, top_k=top_k, max_answer_length=max_answer_length)
