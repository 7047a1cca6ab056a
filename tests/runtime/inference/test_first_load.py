"""The first load of a graph on a machine checks it with the folder's sample of texts, and remembers the verdict."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE, SAMPLE_FILE, Variant
from dpr_export.models.artifact.reference_outputs import Example, read_reference_outputs
from dpr_export.models.artifact.variants import AccuracyWarning
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.checks.pack import pack
from dpr_export.runtime.checks.verify import verify
from dpr_export.runtime.cli import app as cli
from dpr_export.runtime.inference import loading, verdicts
from dpr_export.runtime.inference.sample import find_bound, measure_least_cosine
from tests.doubles.changed_graphs import copy_changed, reverse_matrices
from tests.doubles.fake_session import FakeSession

OPENVINO, ONNXRUNTIME = "onnx/model_int8.onnx", "onnx/model_ort_int8.onnx"


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was measured on samples, in a process that remembers nothing."""
    found: list[float] = []

    def measure(*arguments: object) -> float:
        found.append(measure_least_cosine(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(verdicts, "measure_least_cosine", measure)
    monkeypatch.setattr(verdicts, "_remembered", {})
    monkeypatch.setattr("dpr_export.runtime.inference.selection.processor_kind", lambda: "x86 with VNNI")
    return found


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes this process as new as one that starts; the cache folder stays."""
    return lambda: monkeypatch.setattr(verdicts, "_remembered", {})


def every_bound_holds(folder: Path) -> Path:
    """Say in a copy that every variant kept its bounds: random weights do not, and `auto` would pass over them."""
    manifest = ExportedFolder.read(folder).manifest
    kept = [
        replace(v, verified=True, accuracy_drop=replace(v.accuracy_drop, below_bound=())) if v.accuracy_drop else v
        for v in manifest.variants
    ]
    (folder / MANIFEST_FILE).write_text(replace(manifest, variants=tuple(kept)).to_json())
    return folder


def load(folder: Path, **options: str) -> DPRQuestionEncoder:
    return DPRQuestionEncoder.from_pretrained(folder, device="cpu", **options)


def call(kind: str, mask: list[list[int]], **reference: object) -> Example:
    ids = np.array(mask, np.int64)
    feeds = dict.fromkeys(KINDS[kind].inputs, ids)
    return Example(feeds, {name: np.array(value, np.float32) for name, value in reference.items()})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([[3, 4], [0, 2]], 1.0),
        ([[4, 3], [0, 2]], 24 / 25),
        ([[6, 8], [0, 2]], 0.75),  # the same direction, twice as long: 1 - 5² / (2 x 5 x 10)
        ([[0, 0], [0, 2]], 0.0),
        ([[np.nan, 4], [0, 2]], -1.0),
        ([[-3, -4], [0, 2]], -1.0),
    ],
)
def test_vectors_are_compared_row_by_row(found: list[list[float]], expected: float) -> None:
    example = call("question", [[1, 1], [1, 0]], pooler_output=[[3, 4], [0, 2]])
    session = FakeSession(lambda _: {"pooler_output": np.array(found, np.float32)})
    assert measure_least_cosine(session, KINDS["question"], [example]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("start", "relevance", "expected"),
    [
        ([[1, 2, 3], [5, 1, 0]], [1, 2], 1.0),
        ([[11, 12, 13], [3, -1, 70]], [1, 2], 1.0),  # moved as a whole; and the padding does not count
        ([[3, 2, 1], [5, 1, 0]], [1, 2], 1 - 8 / (2 * (2 + 2 / 3 + 1))),  # vectors of squared length 11/3
        ([[1, 2, 3], [5, 1, 0]], [-1, 2], 1 - 4 / (2 * (2 + 2 / 3 + 1))),
    ],
)
def test_a_readers_logits_are_compared_over_each_rows_own_tokens(
    start: list[list[float]], relevance: list[float], expected: float
) -> None:
    right = {"start_logits": [[1, 2, 3], [5, 1, 0]], "end_logits": [[1, 0, 0], [0, 1, 0]], "relevance_logits": [1, 2]}
    example = call("reader", [[1, 1, 1], [1, 1, 0]], **right)
    outputs = {**right, "start_logits": start, "relevance_logits": relevance}
    session = FakeSession(lambda _: {name: np.array(value, np.float32) for name, value in outputs.items()})
    assert measure_least_cosine(session, KINDS["reader"], [example]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_has_real_texts_alone_and_in_a_padded_batch(tiny: dict[str, Path], kind: str) -> None:
    alone, batch = read_reference_outputs(tiny[kind] / SAMPLE_FILE)
    assert alone.shape[0] == 1
    assert batch.shape[0] == 8
    assert 3 < batch.shape[1] <= 64
    lengths = batch.feeds["attention_mask"].sum(axis=1)
    assert len(set(lengths.tolist())) > 1 or lengths.tolist() == [64] * 8
    assert np.array_equal(alone.feeds["input_ids"][0], batch.feeds["input_ids"][0][: alone.shape[1]])
    assert set(alone.reference) == set(KINDS[kind].outputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_fp32_graphs_agree_with_pytorch_on_the_sample(tiny: dict[str, Path], kind: str, backend: str) -> None:
    checks = {check.what: check for check in verify(tiny[kind])}
    assert checks[f"onnx/model.onnx on {backend}"].passed


def test_a_graph_is_checked_once_and_not_by_the_next_process(
    tiny: dict[str, Path], measured: list[float], forget: Callable[[], None]
) -> None:
    for _ in range(2):
        load(tiny["question"], backend="onnxruntime").close()
    assert len(measured) == 1
    assert measured[0] > 0.99999
    forget()
    load(tiny["question"], backend="onnxruntime").close()
    assert len(measured) == 1
    load(tiny["question"], backend="openvino").close()
    assert len(measured) == 2


def test_another_processor_another_engine_and_another_graph_are_checked_again(
    tiny: dict[str, Path], measured: list[float], forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny["question"], backend="onnxruntime").close()
    for name, value in {
        "processor_features": lambda: frozenset({"asimd"}),
        "version": lambda _: "99.0",
    }.items():
        forget()
        monkeypatch.setattr(verdicts, name, value)
        before = len(measured)
        load(tiny["question"], backend="onnxruntime").close()
        assert len(measured) == before + 1


def test_verify_checks_ahead_of_time(tiny: dict[str, Path], measured: list[float], forget: Callable[[], None]) -> None:
    assert all(check.passed is not False for check in verify(tiny["question"]))
    measured.clear()
    forget()
    load(tiny["question"]).close()
    load(tiny["question"], backend="onnxruntime").close()
    assert measured == []


def test_a_damaged_verdict_is_measured_again(
    tiny: dict[str, Path], measured: list[float], forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny["question"], backend="onnxruntime").close()
    (kept,) = verdicts._folder().iterdir()
    for content in ("", "{}", '{"cosine": 1, "bound": "x", "schema": 1}', '{"cosine": 1, "bound": 0, "schema": 2}'):
        kept.write_text(content)
        forget()
        measured.clear()
        load(tiny["question"], backend="onnxruntime").close()
        assert len(measured) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    forget()
    for _ in range(2):
        load(tiny["question"], backend="onnxruntime").close()
    assert len(measured) == 2


def test_what_fails_here_is_passed_over_and_that_is_said(
    tiny_variants: dict[str, Path], tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = every_bound_holds(copy_changed(tiny_variants["question"], tmp_path / "wrong", reverse_matrices, OPENVINO))
    with load(folder) as model:
        assert model.choice is not None
        assert (model.choice.variant.backend, model.choice.variant.precision) == ("onnxruntime", "int8")
        (line,) = (line for line in model.explain().splitlines() if line.startswith("passed over: openvino int8"))
    assert line.startswith("passed over: openvino int8 on cpu: least cosine with the PyTorch model ")
    assert "on this machine, and it must be at least " in line
    opened: list[str] = []
    open_session = loading.open_session
    monkeypatch.setattr(
        loading, "open_session", lambda backend, *a, **k: opened.append(backend) or open_session(backend, *a, **k)
    )
    forget()
    load(folder).close()
    load(folder, precision="int8").close()
    assert opened == ["onnxruntime"] * 2
    assert pack(folder, tmp_path / "packed").variants[0].backend == "onnxruntime"


def test_pack_checks_before_it_chooses(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    folder = every_bound_holds(copy_changed(tiny_variants["question"], tmp_path / "wrong", reverse_matrices, OPENVINO))
    assert pack(folder, tmp_path / "packed").variants[0].file == ONNXRUNTIME


def test_what_is_named_and_fails_runs_with_a_warning(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_changed(tiny_variants["question"], tmp_path / "wrong", reverse_matrices, OPENVINO, ONNXRUNTIME)
    for backend, file in (("openvino", OPENVINO), ("onnxruntime", ONNXRUNTIME), ("auto", OPENVINO)):
        for _ in range(2):
            match = rf"{file} on \w+ [\d.]+ .*: least cosine .* must be at least 0\."
            with pytest.warns(AccuracyWarning, match=match):
                model = load(folder, backend=backend, precision="int8")
            with model:
                assert model.choice is not None
                assert model.choice.variant.file == file
    with load(folder, precision="fp32") as model:
        assert "passed over" not in model.explain()


@pytest.mark.filterwarnings("default")
def test_a_command_prints_the_warning_as_one_line(
    tiny_variants: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copy_changed(tiny_variants["question"], tmp_path / "wrong", reverse_matrices, ONNXRUNTIME)
    Path("q.txt").write_text("who wrote hamlet ?\n")
    options = ["--backend", "onnxruntime", "--precision", "int8"]
    monkeypatch.setattr(sys, "argv", ["dpr-runtime", "encode", str(folder), "q.txt", "q.npy", *options])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert len(lines) == 1
    assert lines[0].startswith(f"dpr-runtime: warning: {ONNXRUNTIME} on onnxruntime ")


def test_where_every_variant_fails_nothing_is_chosen(tiny: dict[str, Path], tmp_path: Path) -> None:
    files = [v.file for v in ExportedFolder.read(tiny["question"]).manifest.variants]
    folder = copy_changed(tiny["question"], tmp_path / "wrong", reverse_matrices, *dict.fromkeys(files))
    with pytest.raises(ValueError, match="holds no variant that can run as requested: openvino fp32 on cpu: least cos"):
        load(folder)
    with pytest.warns(AccuracyWarning):
        load(folder, precision="fp32").close()


def test_a_damaged_file_is_an_error_and_leaves_no_verdict(tiny: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny["question"], tmp_path / "copy")
    graph = tmp_path / "copy" / "onnx" / "model.onnx"
    content = graph.read_bytes()
    model = onnx.load(graph)
    reverse_matrices(model)
    onnx.save(model, graph)
    assert graph.stat().st_size == len(content)
    with pytest.raises(ValueError, match=r"copy is damaged: onnx/model.onnx has SHA-256 .*; export it again"):
        load(tmp_path / "copy", backend="openvino", precision="fp32")
    graph.write_bytes(content)
    load(tmp_path / "copy", backend="openvino", precision="fp32").close()


def test_the_bound_is_the_variants_own(tiny_variants: dict[str, Path]) -> None:
    def held(backend: str, precision: str) -> Variant:
        variants = ExportedFolder.read(tiny_variants["question"]).manifest.variants
        return next(v for v in variants if (v.backend, v.precision) == (backend, precision))

    int8 = held("onnxruntime", "int8")
    assert int8.accuracy_drop is not None
    assert find_bound(int8, "int8") == int8.accuracy_drop.sample_bound <= 0.97
    assert find_bound(held("openvino", "fp32"), "fp32") == 0.9999
    assert find_bound(held("openvino", "fp32"), "bf16") == 0.97
