"""Calls of random tokens, and what a graph makes of them on the CPU."""

from pathlib import Path

import numpy as np

from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.session import Feeds, Outputs, open_session


def random_call(kind: str, rows: int, length: int, seed: int = 0) -> Feeds:
    """Rows that end at random places, each after one token at least; the first is whole."""
    generator = np.random.default_rng(seed)
    ends = generator.integers(1, length + 1, (rows, 1))
    ends[0] = length
    values = {
        "input_ids": generator.integers(5, 100, (rows, length)),
        "attention_mask": (np.arange(length) < ends).astype(np.int64),
        "token_type_ids": generator.integers(0, 2, (rows, length)),
    }
    return {name: values[name] for name in KINDS[kind].inputs}


def on_cpu(graph: Path, given: Feeds) -> Outputs:
    """What a graph gives on ONNX Runtime's CPU."""
    session = open_session("onnxruntime", graph, threads=1)
    try:
        return session.run(given)
    finally:
        session.close()


def largest_share(found: Outputs, expected: Outputs, given: Feeds) -> float:
    """The largest difference of what is not padding, as a share of the output's largest; shapes must be equal."""
    worst = 0.0
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == np.float32
        inside = given["attention_mask"] == 1 if array.shape == given["attention_mask"].shape else ...
        worst = max(worst, float(np.abs(found[name] - array)[inside].max() / np.abs(array).max()))
    return worst
