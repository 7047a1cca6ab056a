"""Measure the accuracy drop of a lossy variant on the evaluation set. Every metric is a share, a cosine or an F1.

An encoder's vectors are compared with the fp32 graph's: by cosine, and by the nearest neighbours that stay the same. A
reader's answers are compared, from each question's own passage and the next three of the file, which are related. For
both, a text alone must give the same result as in a padded batch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import CONTEXT, READER, Kind
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.quantization.texts import QuestionAndPassage
from dpr_export.runtime.corpus.evaluation.squad_metrics import f1
from dpr_export.runtime.engines.session import Feeds, Session
from dpr_export.runtime.inference.answers import Answer
from dpr_export.runtime.inference.batching import TokenizedRows, run_rows
from dpr_export.runtime.inference.reader import DPRReader
from dpr_export.runtime.inference.texts import encoder_row

Metrics = dict[str, float]
Vectors = NDArray[np.float32]
PASSAGES = 4
NEIGHBOURS = 10
SAMPLE_ROWS, SAMPLE_TOKENS = 8, 64


def tokenize_each(
    kind: Kind, folder: Path, texts: Sequence[QuestionAndPassage], longest: int | None = None
) -> list[Feeds]:
    """Tokenize each text alone, with the kind's tokenizer, into the graph's inputs: int64 (1, sequence).

    Texts are cut to the model's longest sequence, or to `longest` tokens if that is shorter.
    """
    config, tokenizer = _parts(kind, folder)
    limit = min(config.max_position_embeddings, tokenizer.model_max_length, longest or config.max_position_embeddings)
    calls = []
    for row in texts:
        strings = encoder_row(row.title, row.text) if kind is CONTEXT else [getattr(row, name) for name in kind.columns]
        encode: Any = tokenizer  # how many strings it takes is the kind's
        encoded = encode(*([string] for string in strings), truncation=True, max_length=limit, return_tensors="np")
        calls.append({name: encoded[name] for name in kind.inputs})
    return calls


def tokenize_sample(kind: Kind, folder: Path, texts: Sequence[QuestionAndPassage]) -> list[Feeds]:
    """Tokenize a few of the texts, for a check that takes little time: the first one alone, and all in a padded batch.

    Returns:
        Two calls: int64 (1, sequence) and (at most 8, at most 64).
    """
    config = DPRConfig.read(folder)
    rows = tokenize_each(kind, folder, texts[:: max(1, len(texts) // SAMPLE_ROWS)][:SAMPLE_ROWS], SAMPLE_TOKENS)
    length = max(row["input_ids"].shape[1] for row in rows)
    padding = {"input_ids": config.pad_token_id or 0}
    for row in rows:
        if "token_type_ids" in row:  # a model may have one type alone
            row["token_type_ids"] = np.minimum(row["token_type_ids"], config.type_vocab_size - 1)
    batch = {
        name: np.concatenate([_pad(row[name], length, padding.get(name, 0)) for row in rows]) for name in kind.inputs
    }
    return [rows[0], batch]


def _pad(row: NDArray[np.int64], length: int, value: int) -> NDArray[np.int64]:
    return np.pad(row, ((0, 0), (0, length - row.shape[1])), constant_values=value)


class Gate:
    """Compares lossy variants with the fp32 graph, whose own results are computed once.

    Args:
        kind: the kind of model.
        folder: where its configuration and tokenizer are.
        reference: a session of the fp32 graph.
        texts: the evaluation set; for a reader, related passages must be next to each other.
    """

    def __init__(self, kind: Kind, folder: Path, reference: Session, texts: Sequence[QuestionAndPassage]) -> None:
        self._texts, self._kind = texts, kind
        self._config, self._tokenizer = _parts(kind, folder)
        self._rows = [] if kind is READER else tokenize_each(kind, folder, texts)
        self._expected: Any = self._answers(reference) if kind is READER else _vectors(reference, self._rows)

    def judge(self, variant: Session) -> Metrics:
        """Measure a variant's metrics.

        Returns:
            For an encoder: mean_cosine, least_cosine, top1 and top10 (neighbours kept), least_cosine_alone (alone
            against batched). For a reader: same_passage, same_span, f1 (SQuAD's, of the answers), same_span_alone.
        """
        return self._judge_reader(variant) if self._kind is READER else self._judge_encoder(variant)

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
            "same_span": _share(_find_own(a) == _find_own(b) for a, b in pairs),
            "f1": float(np.mean([f1(_find_own(a)[2], _find_own(b)[2]) for a, b in pairs])),
            "same_span_alone": _share(_find_own(a) == _find_own(b) for a, b in zip(alone, found, strict=True)),
        }

    def _answers(
        self, session: Session, passages: int = PASSAGES, batch_tokens: int | None = None
    ) -> list[list[Answer]]:
        """Each question's answers from its own passage, which is the first, and from the next ones."""
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
    return DPRConfig.read(folder), TOKENIZER_CLASSES[kind.name].read(folder)


def _vectors(session: Session, rows: Sequence[Feeds]) -> Vectors:
    """Encode the texts in padded batches, to (n, dim)."""
    ids = [row["input_ids"][0].tolist() for row in rows]
    types = [row["token_type_ids"][0].tolist() for row in rows]
    runs = run_rows(session, [TokenizedRows(ids, types)], pad_token_id=0, longest=max(map(len, ids)))
    batches = [(batch.positions, outputs["pooler_output"]) for batch, outputs in runs]
    order = np.argsort(np.concatenate([positions for positions, _ in batches]))
    vectors: Vectors = np.concatenate([found for _, found in batches])[order]
    return vectors


def cosine(one: Vectors, other: Vectors) -> Vectors:
    """The cosine of each row of `one` with the same row of `other`, (n,).

    >>> cosine(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]])).tolist()
    [1.0]
    """
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    result: Vectors = (one * other).sum(axis=1) / lengths
    return result


def neighbours_kept(one: Vectors, other: Vectors, count: int) -> float:
    """The share of each row's `count` nearest other rows, by inner product, that stays the same.

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


def _find_own(answers: Sequence[Answer]) -> tuple[int, int, str]:
    """The start, end and text of the answer from the question's own passage."""
    own = next(answer for answer in answers if answer.passage == 0)
    return own.start, own.end, own.text


def _share(same: Iterable[bool]) -> float:
    return float(np.mean(list(same)))
