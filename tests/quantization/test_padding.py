"""Every graph of a folder leaves out what stands behind the mask, on the engine that runs it.

Graphs for TensorRT are run by ONNX Runtime here; the engines built from them are checked in `tests/gpu`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from dpr_export.models.artifact.variants import VARIANTS, VariantSpec
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.session import SESSION_CLASSES, Feeds, Outputs, Session, open_session

ROWS, LENGTH = 4, 20
ENDS = np.array([20, 13, 6, 2])
CASES = [pytest.param(kind, spec, id=f"{kind}-{spec.backend}-{spec.file[5:-5]}") for kind in KINDS for spec in VARIANTS]

# How far a padded text may be from the same text alone, as a share of the largest output. ONNX Runtime's INT8 measures
# one scale for a whole batch, padding and all, so there what stands beside a text tells a little.
TOLERANCE = {
    ("onnxruntime", "fp32"): 1e-5,
    ("openvino", "fp32"): 1e-5,
    ("onnxruntime", "fp16"): 2e-3,
    ("tensorrt", "fp32"): 1e-5,
    ("tensorrt", "fp16"): 2e-3,
    ("tensorrt", "int8"): 1e-2,
    ("openvino", "int8"): 1e-2,
    ("onnxruntime", "int8"): 0.08,
}


def batch(kind: str, seed: int = 0) -> Feeds:
    """Rows of several lengths; any ids and token types stand behind the mask."""
    generator = np.random.default_rng(seed)
    values = {
        "input_ids": generator.integers(5, 100, (ROWS, LENGTH)),
        "attention_mask": (np.arange(LENGTH) < ENDS[:, None]).astype(np.int64),
        "token_type_ids": generator.integers(0, 2, (ROWS, LENGTH)),
    }
    return {name: values[name] for name in KINDS[kind].inputs}


def other_padding(feeds: Feeds) -> Feeds:
    """The same rows, with other ids and token types behind the mask."""
    generator = np.random.default_rng(1)
    changed = dict(feeds)
    for name, many in (("input_ids", 100), ("token_type_ids", 2)):
        if name in feeds:
            drawn = generator.integers(0, many, (ROWS, LENGTH))
            changed[name] = np.where(feeds["attention_mask"] == 1, feeds[name], drawn)
    return changed


def kept(outputs: Outputs, rows: int = ROWS) -> np.ndarray:
    """All outputs of the first rows, without the logits of what is masked, one after another."""
    inside = np.arange(LENGTH) < ENDS[:rows, None]
    return np.concatenate(
        [
            (array[:rows][inside] if name in ("start_logits", "end_logits") else array[:rows]).ravel()
            for name, array in outputs.items()
        ]
    )


def alone(session: Session, feeds: Feeds) -> np.ndarray:
    """What `kept` gives, of each row run by itself and without padding."""
    rows = [
        session.run({name: array[row : row + 1, :end] for name, array in feeds.items()}) for row, end in enumerate(ENDS)
    ]
    return np.concatenate([np.concatenate([row[name].ravel() for row in rows]) for name in session.output_names])


@pytest.fixture
def session(tiny_variants: dict[str, Path], kind: str, spec: VariantSpec) -> Iterator[Session]:
    engine = spec.backend if (spec.backend, "cpu") in SESSION_CLASSES else "onnxruntime"
    opened = open_session(engine, tiny_variants[kind] / spec.file, threads=1, cache=False)
    yield opened
    opened.close()


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_what_stands_behind_the_mask_changes_nothing(session: Session, kind: str, spec: VariantSpec) -> None:
    feeds = batch(kind)
    one, other = kept(session.run(feeds)), kept(session.run(other_padding(feeds)))
    if (spec.backend, spec.precision) == ("onnxruntime", "int8"):
        assert np.abs(one - other).max() <= TOLERANCE[spec.backend, spec.precision] * np.abs(one).max()
    else:
        assert np.array_equal(one, other)
    open_mask = feeds | {"attention_mask": np.ones((ROWS, LENGTH), np.int64)}
    assert np.abs(one - kept(session.run(open_mask))).max() > 0.2 * np.abs(one).max()  # what is compared could differ


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_text_gives_the_same_padded_as_alone(session: Session, kind: str, spec: VariantSpec) -> None:
    feeds = batch(kind)
    padded, by_itself = kept(session.run(feeds)), alone(session, feeds)
    assert padded.shape == by_itself.shape
    assert np.abs(padded - by_itself).max() <= TOLERANCE[spec.backend, spec.precision] * np.abs(padded).max()


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_row_with_all_masked_is_finite_and_spoils_no_other(session: Session, kind: str, spec: VariantSpec) -> None:
    feeds = batch(kind)
    feeds["attention_mask"][3] = 0
    found, expected = session.run(feeds), session.run(batch(kind))
    assert all(np.isfinite(array).all() for array in found.values())
    one, other = kept(found, rows=3), kept(expected, rows=3)
    assert np.abs(one - other).max() <= TOLERANCE[spec.backend, spec.precision] * np.abs(other).max()


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_the_axes_are_free_and_named_as_in_the_graph_it_was_made_from(
    tiny_variants: dict[str, Path], kind: str, spec: VariantSpec
) -> None:
    def axes(name: str) -> dict[str, list[str]]:
        graph = onnx.load(tiny_variants[kind] / name, load_external_data=False).graph
        return {
            value.name: [axis.dim_param or str(axis.dim_value) for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }

    assert axes(spec.file) == axes("onnx/model.onnx")


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_graph_is_valid_onnx(tiny_variants: dict[str, Path], kind: str, spec: VariantSpec) -> None:
    onnx.checker.check_model(onnx.load(tiny_variants[kind] / spec.file))
