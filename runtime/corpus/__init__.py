"""Corpora: encode millions of passages, index them, search, answer, and see how good the models are on them.

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

Each function says what it needs beyond the runtime: `pip install "dpr-export[bulk]"` brings all of it.
"""

from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.plan import Encoded
from dpr_export.runtime.corpus.evaluation.evaluate import Models, evaluate
from dpr_export.runtime.corpus.evaluation.scores import Judged, Score
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.corpus.retrieval.ask import AskResult, ask
from dpr_export.runtime.corpus.retrieval.index import IndexRecord, PassageIndex, build_index
from dpr_export.runtime.corpus.retrieval.questions import Question, QuestionSet, RetrievedPassage, read_questions
from dpr_export.runtime.corpus.retrieval.search import search

__all__ = [
    "AskResult",
    "Encoded",
    "IndexRecord",
    "Judged",
    "Models",
    "Passage",
    "PassageIndex",
    "Question",
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
