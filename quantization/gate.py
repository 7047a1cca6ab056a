"""Judge what a lossy variant costs, on texts it was not calibrated with.

An encoder is judged by its vectors: their cosine with the fp32 graph's, and whether each text keeps its nearest
neighbours among the others. A reader is judged by its answers: each question is read in its own passage and in the
three that follow it in the file, which are about related things. Both are judged, too, by whether a text gives the same
result alone as in a padded batch with others.

Every figure is a share or a cosine: 1 is no loss at all.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import READER, Kind
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.quantization.texts import Row
from dpr_export.runtime.engines.session import Feeds, Session
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.batching import TokenizedRows, run_rows
from dpr_export.runtime.inference.reader import DPRReader

Metrics = dict[str, float]
Vectors = NDArray[np.float32]
PASSAGES = 4
NEIGHBOURS = 10


def tokenized(kind: Kind, folder: Path, texts: Sequence[Row]) -> list[Feeds]:
    """The graph's inputs for each text alone, int64 (1, sequence), as the kind's own tokenizer makes them."""
    config, tokenizer = _parts(kind, folder)
    limit = min(config.max_position_embeddings, tokenizer.model_max_length)
    calls = []
    for row in texts:
        columns: list[Any] = [[getattr(row, name)] for name in kind.columns]
        encode: Any = tokenizer  # how many strings it takes is the kind's
        encoded = encode(*columns, truncation=True, max_length=limit, return_tensors="np")
        calls.append({name: encoded[name] for name in kind.inputs})
    return calls


class Gate:
    """Compares lossy variants with the fp32 graph, whose own results are computed once.

    Args:
        kind: the kind of model.
        folder: where its configuration and tokenizer are.
        reference: a session of the fp32 graph.
        texts: what to judge on; for a reader, related passages stand next to each other.
    """

    def __init__(self, kind: Kind, folder: Path, reference: Session, texts: Sequence[Row]) -> None:
        self._texts = texts
        self._config, self._tokenizer = _parts(kind, folder)
        self._rows = [] if kind is READER else tokenized(kind, folder, texts)
        self._judge = self._judge_reader if kind is READER else self._judge_encoder
        self._expected: Any = self._answers(reference) if kind is READER else _vectors(reference, self._rows)

    def judge(self, variant: Session) -> Metrics:
        """What a variant keeps.

        Returns:
            For an encoder: mean_cosine, least_cosine, top1 and top10 (neighbours kept), least_cosine_alone (alone
            against batched). For a reader: same_passage, same_span, f1 (of the answers), same_span_alone.
        """
        return self._judge(variant)

    def _judge_encoder(self, variant: Session) -> Metrics:
        found = _vectors(variant, self._rows)
        alone = np.concatenate([variant.run(row)["pooler_output"] for row in self._rows])
        cosines = cosine(self._expected, found)
        return {
            "mean_cosine": float(cosines.mean()),
            "least_cosine": float(cosines.min()),
            "top1": neighbours_kept(self._expected, found, 1),
            "top10": neighbours_kept(self._expected, found, NEIGHBOURS),
            "least_cosine_alone": float(cosine(alone, found).min()),
        }

    def _judge_reader(self, variant: Session) -> Metrics:
        found, alone = self._answers(variant), self._answers(variant, passages=1, batch_tokens=1)
        pairs = list(zip(self._expected, found, strict=True))
        return {
            "same_passage": _share(a[0].passage == b[0].passage for a, b in pairs),
            "same_span": _share(_own(a) == _own(b) for a, b in pairs),
            "f1": float(np.mean([f1(_own(a)[2], _own(b)[2]) for a, b in pairs])),
            "same_span_alone": _share(_own(a) == _own(b) for a, b in zip(alone, found, strict=True)),
        }

    def _answers(
        self, session: Session, passages: int = PASSAGES, batch_tokens: int | None = None
    ) -> list[list[Answer]]:
        """The answers to each question from its own passage, which is the first, and from those after it."""
        texts = self._texts
        groups = [[texts[(index + step) % len(texts)] for step in range(passages)] for index in range(len(texts))]
        return DPRReader(session, self._config, self._tokenizer).answer(
            [row.question for row in texts],
            [[row.title for row in group] for group in groups],
            [[row.text for row in group] for group in groups],
            top_k=passages,
            batch_tokens=batch_tokens,
        )


def _parts(kind: Kind, folder: Path) -> tuple[DPRConfig, Any]:
    return DPRConfig.from_pretrained(folder), TOKENIZER_CLASSES[kind.name].from_pretrained(folder)


def _vectors(session: Session, rows: Sequence[Feeds]) -> Vectors:
    """Each text's vector, from batches in which it is padded."""
    ids = [row["input_ids"][0].tolist() for row in rows]
    types = [row["token_type_ids"][0].tolist() for row in rows]
    runs = run_rows(session, [TokenizedRows(ids, types)], pad_token_id=0, longest=max(map(len, ids)))
    batches = [(batch.positions, outputs["pooler_output"]) for batch, outputs in runs]
    vectors = np.empty((len(rows), batches[0][1].shape[1]), np.float32)
    for positions, found in batches:
        vectors[positions] = found
    return vectors


def cosine(one: Vectors, other: Vectors) -> Vectors:
    """The cosine of each row of one with the same row of the other, (n,).

    >>> cosine(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]])).tolist()
    [1.0]
    """
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    result: Vectors = (one * other).sum(axis=1) / lengths
    return result


def neighbours_kept(one: Vectors, other: Vectors, count: int) -> float:
    """Which share of each row's `count` nearest neighbours by inner product, itself left out, stays the same.

    >>> neighbours_kept(np.eye(3), np.eye(3), 1)
    1.0
    """
    count = min(count, len(one) - 1)
    nearest = []
    for vectors in (one, other):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(np.argsort(-scores, axis=1, kind="stable")[:, :count])
    kept = [len(set(a) & set(b)) for a, b in zip(nearest[0].tolist(), nearest[1].tolist(), strict=True)]
    return float(np.mean(kept) / count)


def _own(answers: Sequence[Answer]) -> tuple[int, int, str]:
    """Where the answer from the question's own passage stands, and what it is."""
    own = next(answer for answer in answers if answer.passage == 0)
    return own.start, own.end, own.text


def _share(same: Iterable[bool]) -> float:
    return float(np.mean(list(same)))


def f1(one: str, other: str) -> float:
    """How much of their words two answers share, 0 to 1.

    >>> f1("the red house", "red house")
    0.8
    """
    words, others = Counter(one.lower().split()), Counter(other.lower().split())
    shared = (words & others).total()
    return 2 * shared / (words.total() + others.total()) if shared else 0.0
