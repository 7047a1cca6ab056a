"""A packed folder: one variant that loads, verifies and answers as before, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import REQUIRED_FILES
from dpr_export.quantization import VariantOptions, add_variants
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.checks.pack import pack
from dpr_export.runtime.checks.verify import verify
from tests.runtime.test_cli import error_of, run

SMALL = [*REQUIRED_FILES, "manifest.json"]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("variant", "file"),
    [
        ("onnxruntime-fp32", "onnx/model_ort.onnx"),
        ("openvino-fp32", "onnx/model.onnx"),
        ("onnxruntime-int8", "onnx/model_ort_int8.onnx"),
        ("openvino-int8", "onnx/model_int8.onnx"),
    ],
)
def test_a_packed_folder_holds_one_variant_that_gives_what_it_gave(
    tiny_variants: dict[str, Path], tmp_path: Path, variant: str, file: str
) -> None:
    source, packed = tiny_variants["question"], tmp_path / "packed"
    manifest = pack(source, packed, variant)
    assert files(packed) == sorted([*SMALL, file])
    assert [f"{v.backend}-{v.precision}" for v in manifest.variants] == [variant]
    assert ExportedFolder.open(packed, verify=True).manifest == manifest
    assert all(check.passed for check in verify(packed)), list(verify(packed))
    backend, _, precision = variant.partition("-")
    texts = ["who wrote hamlet ?", "paris"]
    with (
        DPRQuestionEncoder.from_pretrained(source, backend=backend, precision=precision) as whole,
        DPRQuestionEncoder.from_pretrained(packed, backend=backend, precision=precision) as part,
    ):
        assert np.array_equal(whole.encode(texts), part.encode(texts))


def test_without_a_name_it_is_what_this_machine_would_run(tiny: dict[str, Path], tmp_path: Path) -> None:
    (variant,) = pack(tiny["reader"], tmp_path / "packed").variants
    assert (variant.backend, variant.precision) == ("openvino", "fp32")


def test_a_variant_that_is_not_there_is_answered_with_those_that_are(tiny: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"variant is 'onnxruntime-int8', and .* holds: onnxruntime-fp32, openvino-fp32"
    ):
        pack(tiny["reader"], tmp_path / "packed", "onnxruntime-int8")
    assert not (tmp_path / "packed").exists()


def test_a_damaged_file_is_not_packed_and_one_that_is_not_needed_may_be_lost(plain, tmp_path: Path) -> None:
    folder = plain("question", "copy")
    graph = folder / "onnx" / "model.onnx"
    for content, problem in ((b"short", "has 5 bytes"), (bytes(graph.stat().st_size), "has SHA-256")):
        graph.write_bytes(content)
        with pytest.raises(ValueError, match=rf"is damaged: onnx/model\.onnx {problem}"):
            pack(folder, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_what_is_there_is_replaced_only_with_force(tiny: dict[str, Path], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    pack(tiny["reader"], packed, "openvino-fp32")
    with pytest.raises(FileExistsError, match="exists: give another, or replace it with force"):
        pack(tiny["reader"], packed, "onnxruntime-fp32")
    assert ExportedFolder.open(packed).manifest.variants[0].backend == "openvino"
    pack(tiny["reader"], packed, "onnxruntime-fp32", force=True)
    assert ExportedFolder.open(packed).manifest.variants[0].backend == "onnxruntime"


def test_no_variants_are_made_of_a_packed_folder(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    pack(tiny_variants["question"], tmp_path / "packed", "onnxruntime-int8")
    with pytest.raises(ValueError, match=r"has no onnx/model\.onnx that passed the parity check, and variants"):
        add_variants(tmp_path / "packed", VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))


def test_a_folder_may_be_packed_in_place(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_variants["question"], tmp_path / "own")
    pack(tmp_path / "own", tmp_path / "own", "openvino-int8", force=True)
    assert files(tmp_path / "own") == sorted([*SMALL, "onnx/model_int8.onnx"])


def test_the_command_says_what_it_saved(tiny: dict[str, Path], tmp_path: Path) -> None:
    done = run("pack", tiny["reader"], "-o", tmp_path / "packed", "--variant", "openvino-fp32")
    assert done.stdout.startswith(f"openvino fp32 in {tmp_path / 'packed'}: ")
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text())
    total = sum(record["bytes"] for record in manifest["files"].values())
    assert f"{total / 1e3:.1f} kB of" in done.stdout
    assert "exists: give another" in error_of("pack", tiny["reader"], "-o", tmp_path / "packed")
