"""Corpora: encode millions of passages, index them, search, answer, and see how good the models are on them.

Each function says what it needs beyond the runtime: `pip install "dpr-export[bulk]"` brings all of it.
"""

from dpr_export.runtime.corpus.ask import Reply, ask
from dpr_export.runtime.corpus.encode import encode_corpus
from dpr_export.runtime.corpus.evaluate import Models, Score, evaluate
from dpr_export.runtime.corpus.index import IndexRecord, PassageIndex, build_index
from dpr_export.runtime.corpus.plan import Encoded
from dpr_export.runtime.corpus.questions import Found, Question, read_questions
from dpr_export.runtime.corpus.read import Row, read_corpus
from dpr_export.runtime.corpus.search import search

__all__ = [
    "Encoded",
    "Found",
    "IndexRecord",
    "Models",
    "PassageIndex",
    "Question",
    "Reply",
    "Row",
    "Score",
    "ask",
    "build_index",
    "encode_corpus",
    "evaluate",
    "read_corpus",
    "read_questions",
    "search",
]
