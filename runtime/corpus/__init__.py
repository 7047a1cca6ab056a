"""Work with corpora: encode millions of passages, index them, search, answer questions, and evaluate models.

    encode_corpus("context-onnx", "psgs_w100.tsv", "corpus")
    build_index("corpus")
    with (
        PassageIndex.open("corpus/index") as index,
        DPRQuestionEncoder.from_pretrained("question-onnx") as encoder,
        DPRReader.from_pretrained("reader-onnx") as reader,
    ):
        passages = search(["who wrote hamlet?"], encoder, index, top_k=20)[0].retrieved
        print(ask("who wrote hamlet?", encoder, index, reader).answers[0].text)
    for score in evaluate("dev.json", Models("question-onnx", "context-onnx", "reader-onnx")):
        print(score.variant, score.top_k, score.exact_match)

Some functions need more libraries than the runtime: `pip install "dpr-export[bulk]"` installs all of them.
"""

from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.job_part import EncodingSummary
from dpr_export.runtime.corpus.evaluation.evaluate import Models, evaluate
from dpr_export.runtime.corpus.evaluation.scores import QuestionScore, Score
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.corpus.retrieval.build_index import build_index
from dpr_export.runtime.corpus.retrieval.index import IndexRecord, PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, QuestionSet, RetrievedPassage, read_questions
from dpr_export.runtime.corpus.retrieval.search import AskResult, ask, search

__all__ = [
    "AskResult",
    "EncodingSummary",
    "IndexRecord",
    "Models",
    "Passage",
    "PassageIndex",
    "Question",
    "QuestionScore",
    "QuestionSet",
    "RetrievedPassage",
    "Score",
    "ask",
    "build_index",
    "encode_corpus",
    "evaluate",
    "read_corpus",
    "read_questions",
    "search",
]
