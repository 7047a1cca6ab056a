"""Compare questions with passages as their encoders' manifests say: by inner product, or by cosine.

The cosine is the inner product of unit vectors, so indexes and searches know inner products alone.
"""

import numpy as np
from numpy.typing import NDArray

from dpr_export.runtime.inference.encoders import DPRContextEncoder, DPRQuestionEncoder, Vectors

_LEAST_LENGTH = 1e-12


def to_inner_product(vectors: NDArray[np.floating], similarity: str) -> Vectors:
    """Return vectors (n, dim) whose inner products are the similarity of the given ones: float32, contiguous.

    >>> to_inner_product(np.array([[3.0, 4.0]]), "cosine").tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if similarity == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _LEAST_LENGTH)
    return vectors


def similarity_of(model: DPRQuestionEncoder | DPRContextEncoder) -> str:
    """How vectors of a model are compared; by inner product if it was not loaded from a folder."""
    return model.folder.manifest.similarity if model.folder else "inner_product"


def check_pair(question_encoder: DPRQuestionEncoder, dim: int, similarity: str, passages: str) -> None:
    """Check that a question encoder's vectors can be compared with those of passages.

    Args:
        question_encoder: the question encoder.
        dim: the dimension of the passages' vectors.
        similarity: how they are compared.
        passages: what holds or makes them, for errors.

    Raises:
        ValueError: another dimension, or another similarity.
    """
    for name, ours, theirs in (
        ("dimension", question_encoder.config.dim, dim),
        ("similarity", similarity_of(question_encoder), similarity),
    ):
        if ours != theirs:
            raise ValueError(
                f"the question encoder has {name} {ours}, and {passages} has {theirs}: use the question encoder that "
                "was trained with that context encoder"
            )
