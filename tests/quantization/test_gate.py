"""The gate tells a graph from itself, and a damaged graph from a sound one."""

from pathlib import Path

import numpy as np
import pytest

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import Gate, read_texts
from dpr_export.quantization.gate import neighbours_kept
from dpr_export.quantization.texts import EVALUATION_SET_FILE
from dpr_export.runtime.engines.session import Feeds, Outputs, open_session
from tests.doubles.fake_session import FakeSession


@pytest.mark.ci
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_loses_nothing_against_itself_and_much_when_its_outputs_are_noisy(
    demo: dict[str, Path], kind: str
) -> None:
    texts = read_texts(EVALUATION_SET_FILE).rows[: 12 if kind == "reader" else 24]
    reference = open_session("onnxruntime", demo[kind] / MODEL_FILE, device="cpu", threads=1)
    gate = Gate(KINDS[kind], demo[kind], reference, texts)
    same = gate.judge(reference)
    assert len(same) >= 4
    assert all(figure == pytest.approx(1, abs=1e-5) for figure in same.values())
    generator = np.random.default_rng(0)

    def noisy(feeds: Feeds) -> Outputs:
        outputs = reference.run(feeds)
        return {name: array + generator.normal(0, 5, array.shape) for name, array in outputs.items()}

    noise = FakeSession(noisy, reference.input_names, reference.output_names)
    worse = gate.judge(noise)
    assert all(worse[name] < 0.9 for name in worse)
    reference.close()


def test_neighbours_are_counted_by_hand() -> None:
    line = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
    swapped = line[[0, 2, 1]]
    assert neighbours_kept(line, line, 1) == 1
    assert neighbours_kept(line, swapped, 1) == 0
    assert neighbours_kept(line, swapped, 2) == 1
    assert neighbours_kept(line, line[[0, 1, 1]], 1) == pytest.approx(2 / 3)
