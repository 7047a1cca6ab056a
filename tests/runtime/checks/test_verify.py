"""`verify` finds what was changed after export, in lossy variants too, and tells what it cannot look at."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.manifest import MANIFEST_FILE
from dpr_export.models.artifact.reference_outputs import Example
from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.checks import verify as verifying
from dpr_export.runtime.checks.parity import ParityError, check_finite
from dpr_export.runtime.checks.verify import Check, verify
from dpr_export.runtime.cli import app as cli
from tests.doubles.changed_graphs import copy_changed, reverse_matrices
from tests.doubles.fake_session import FakeSession

LOSSY = {
    "onnx/model_ort_fp16.onnx": "onnxruntime",
    "onnx/model_int8.onnx": "openvino",
    "onnx/model_ort_int8.onnx": "onnxruntime",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scale_the_weights(model: onnx.ModelProto) -> None:
    """Halve every matrix and every long vector of floating point; of a quantized graph the scales and biases."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype in (np.float32, np.float16) and values.size > 16:
            tensor.CopyFrom(numpy_helper.from_array((values * 0.5).astype(values.dtype), tensor.name))


def answer_nothing(model: onnx.ModelProto) -> None:
    """Multiply every output by zero."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    for output in model.graph.output:
        for node in model.graph.node:
            node.output[:] = [f"{name}_was" if name == output.name else name for name in node.output]
            node.input[:] = [f"{name}_was" if name == output.name else name for name in node.input]
        model.graph.node.append(
            onnx.helper.make_node("Mul", [f"{output.name}_was", "nothing"], [output.name], name=f"no_{output.name}")
        )


def failed(folder: Path) -> list[str]:
    return [check.what for check in verify(folder) if check.passed is False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_with_every_variant_is_as_it_was_exported(tiny_variants: dict[str, Path], kind: str) -> None:
    checks = list(verify(tiny_variants[kind]))
    assert failed(tiny_variants[kind]) == []
    graphs = [check for check in checks if " on " in check.what]
    assert len(graphs) == 9
    skipped = {check.what for check in graphs if check.passed is None}
    assert skipped == {f"onnx/{name}.onnx on tensorrt" for name in ("model", "model_fp16", "model_trt_int8")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [scale_the_weights, reverse_matrices, answer_nothing])
@pytest.mark.parametrize("file", LOSSY)
def test_a_lossy_variant_that_was_changed_fails_alone(
    tiny_variants: dict[str, Path],
    tmp_path: Path,
    kind: str,
    file: str,
    damage: Callable[[onnx.ModelProto], None],
) -> None:
    folder = copy_changed(tiny_variants[kind], tmp_path / "changed", damage, file)
    assert failed(folder) == [f"{file} on {LOSSY[file]}"]


@pytest.mark.ci
@pytest.mark.parametrize("file", LOSSY)
def test_a_trained_encoder_that_answers_nothing_fails(demo_variants: Path, tmp_path: Path, file: str) -> None:
    folder = copy_changed(demo_variants, tmp_path / "changed", answer_nothing, file)
    assert failed(folder) == [f"{file} on {LOSSY[file]}"]


def test_a_graph_that_was_changed_after_it_was_run_fails(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    """An engine may keep what it compiled; a check must not look at that."""
    folder, file = tmp_path / "copy", "onnx/model.onnx"
    shutil.copytree(tiny_variants["question"], folder)
    os.utime(folder / file, (0, 0))
    assert failed(folder) == []
    model = onnx.load(folder / file)
    scale_the_weights(model)
    onnx.save(model, folder / file)
    os.utime(folder / file, (0, 0))
    manifest = ExportedFolder.open(folder).manifest
    files = {**manifest.files, file: hash_file(folder / file)}
    (folder / MANIFEST_FILE).write_text(replace(manifest, files=files).to_json())
    assert failed(folder) == [f"{file} on onnxruntime", f"{file} on openvino"]


def test_the_message_says_how_far_it_is_and_how_far_it_was(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    file = "onnx/model_ort_int8.onnx"
    folder = copy_changed(tiny_variants["question"], tmp_path / "changed", answer_nothing, file)
    (check,) = (check for check in verify(folder) if check.passed is False)
    loss = next(v.accuracy_drop for v in ExportedFolder.open(folder).manifest.variants if v.file == file)
    assert check.found.startswith(
        f"least cosine with the PyTorch model 0.0000, at export {loss.sample_cosine:.4f}; it must be at least "
        f"{loss.sample_bound:.4f}"
    )
    assert loss.sample_bound == pytest.approx(min(0.97, loss.sample_cosine - 0.01), abs=2e-5)
    (sound,) = (check for check in verify(tiny_variants["question"]) if check.what == f"{file} on onnxruntime")
    assert sound.found.startswith(f"least cosine with the PyTorch model {loss.sample_cosine:.4f}, at export ")


def mask_with_infinity(model: onnx.ModelProto) -> None:
    """Make a masked score -inf: right wherever something is read, and NaN in a row that is all masked."""
    least = float(np.finfo(np.float32).min)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (name,) = (name for name, value in values.items() if value.shape == () and value == least)
    (mask,) = (node for node in model.graph.node if name in node.input)
    output, mask.output[0] = mask.output[0], "half_of_the_mask"
    doubled = onnx.helper.make_node("Add", ["half_of_the_mask"] * 2, [output], name="double")
    model.graph.node.insert(list(model.graph.node).index(mask) + 1, doubled)


def test_a_lossy_variant_that_gives_no_numbers_where_all_is_masked_fails(
    tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    file = "onnx/model_ort_int8.onnx"
    folder = copy_changed(tiny_variants["question"], tmp_path / "changed", mask_with_infinity, file)
    assert failed(folder) == [f"{file} on onnxruntime"]


def test_a_lossy_variant_that_gives_no_numbers_fails(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    def make_nan(model: onnx.ModelProto) -> None:
        answer_nothing(model)
        model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.full(1, np.nan, np.float32), "nothing"))

    file = "onnx/model_ort_int8.onnx"
    folder = copy_changed(tiny_variants["question"], tmp_path / "changed", make_nan, file)
    assert failed(folder) == [f"{file} on onnxruntime"]


def test_a_file_of_a_variant_that_was_exchanged_fails_by_its_hash(
    tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_variants["question"], tmp_path / "copy")
    file = tmp_path / "copy" / "onnx" / "model_fp16.onnx"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert failed(tmp_path / "copy") == ["onnx/model_fp16.onnx"]


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["dpr-runtime", "verify", str(folder)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return int(exited.value.code or 0), capsys.readouterr().out.splitlines()


def test_an_engine_that_is_not_installed_is_shown_as_skipped_and_fails_nothing(
    tiny_variants: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verifying, "is_installed", lambda name: name != "openvino")
    code, lines = command(tiny_variants["question"], monkeypatch, capsys)
    assert code == 0
    assert lines[-1] == "PASSED"
    skipped = [line for line in lines if line.startswith("skipped ")]
    assert sorted(skipped, key=lambda line: "tensorrt" in line) == [
        "skipped onnx/model.onnx on openvino: openvino is not installed here",
        "skipped onnx/model_int8.onnx on openvino: openvino is not installed here",
        "skipped onnx/model.onnx on tensorrt: made for cuda: verify it there (--device cuda)",
        "skipped onnx/model_fp16.onnx on tensorrt: made for cuda: verify it there (--device cuda)",
        "skipped onnx/model_trt_int8.onnx on tensorrt: made for cuda: verify it there (--device cuda)",
    ]
    assert f"ok      {MODEL_FILE} on onnxruntime: largest difference" in "\n".join(lines)


def test_what_fails_is_still_found_where_an_engine_is_missing(
    tiny_variants: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verifying, "is_installed", lambda name: name != "openvino")
    folder = copy_changed(
        tiny_variants["question"], tmp_path / "changed", scale_the_weights, "onnx/model_ort_int8.onnx"
    )
    code, lines = command(folder, monkeypatch, capsys)
    assert code == 1
    assert lines[-1] == "FAILED: 1 checks"
    assert sum(line.startswith("FAILED  onnx/model_ort_int8.onnx on onnxruntime: least cosine") for line in lines) == 1


def test_an_engine_of_a_later_version_is_skipped(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_variants["question"], tmp_path / "copy")
    manifest = ExportedFolder.open(tmp_path / "copy").manifest
    later = tuple(replace(v, backend="later") if v.precision == "int8" else v for v in manifest.variants)
    (tmp_path / "copy" / MANIFEST_FILE).write_text(replace(manifest, variants=later).to_json())
    checks = {check.what: check for check in verify(tmp_path / "copy")}
    assert checks["onnx/model_int8.onnx on later"] == Check(
        "onnx/model_int8.onnx on later", None, "later is not installed here"
    )


def test_not_a_number_in_a_row_that_is_all_masked_is_an_error() -> None:
    """Alone it is in no other figure: such rows are not compared with the sample."""
    mask = np.array([[1, 1], [0, 0]])
    right = {"pooler_output": np.ones((2, 3), np.float32)}
    wrong = {"pooler_output": np.array([[1, 1, 1], [np.nan, 1, 1]], np.float32)}
    call = Example({"input_ids": mask, "attention_mask": mask}, right)
    assert check_finite(FakeSession(lambda _: right), [call]) == 0
    with pytest.raises(ParityError, match="pooler_output at 2 x 2 has a wrong shape, or is not finite"):
        check_finite(FakeSession(lambda _: wrong), [call])
