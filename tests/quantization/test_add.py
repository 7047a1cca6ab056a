"""Variants are added to a folder whole or not at all, and without the checkpoint or what read it."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from dpr_export.models.artifact.atomic_writing import atomic_folder, lock_folder
from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.manifest import MANIFEST_FILE, Manifest, is_exported_folder
from dpr_export.models.artifact.reference_outputs import read_reference_outputs
from dpr_export.models.artifact.variants import MODEL_FILE, VARIANTS
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import QuantizationError, VariantOptions, add_variants, read_texts
from dpr_export.quantization.recipes import RECIPES, Attempt
from dpr_export.quantization.variants import VariantMaker
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.checks.parity import ParityError
from dpr_export.runtime.engines.session import Feeds
from dpr_export.runtime.inference.selection import choose

ORT_FP16, ORT_INT8 = "onnx/model_ort_fp16.onnx", "onnx/model_ort_int8.onnx"

WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
real = PathFinder.find_spec
foreign = {"torch", "transformers", "peft", "accelerate"}

def without(name, path=None, target=None):
    return None if name.split(".")[0] in foreign else real(name, path, target)

PathFinder.find_spec = without
"""
ADD = """
from pathlib import Path
from dpr_export.quantization import VariantOptions, add_variants, variants
variants.EVALUATION_SET_FILE = Path(sys.argv[2])
add_variants(sys.argv[1], VariantOptions(precisions=["fp16", "int8"], calibration=sys.argv[3], allow_loss=True))
assert not foreign & sys.modules.keys()
"""
COMMAND = """
from dpr_export.exporter.cli import main
main()
"""


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Every path below a folder, hidden ones too, with its SHA-256 and the time it was written."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    } | {path.relative_to(folder).as_posix(): ("folder", 0) for path in folder.rglob("*") if path.is_dir()}


def hidden(folder: Path) -> list[str]:
    return [name for name in content(folder) if any(part.startswith(".") for part in Path(name).parts)]


def files_of(manifest: Manifest) -> list[tuple[str, str]]:
    return [(variant.backend, variant.file) for variant in manifest.variants]


def test_neither_torch_nor_transformers_nor_the_checkpoint_is_needed_and_nothing_is_printed(
    plain: Callable[..., Path], few: dict[str, Path]
) -> None:
    folder = plain()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + ADD, folder, few["judging"], few["calibration"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    made = ExportedFolder.open(folder, verify=True).manifest
    assert files_of(made)[2:] == [
        ("onnxruntime", ORT_FP16),
        ("openvino", "onnx/model_int8.onnx"),
        ("onnxruntime", ORT_INT8),
    ]
    assert all(
        v.accuracy_drop.calibration_set_sha256 == hash_file(few["calibration"]).sha256 for v in made.variants[2:]
    )


def test_the_command_too_needs_no_torch_to_add_variants(plain: Callable[..., Path]) -> None:
    folder = plain()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + COMMAND, folder, "--precision", "fp16", "--backend", "onnxruntime"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("onnxruntime", ORT_FP16) in files_of(ExportedFolder.open(folder, verify=True).manifest)


def then_fail(error: BaseException) -> Callable[..., Iterator[Attempt]]:
    """A recipe that writes a file, and then fails."""

    def recipe(source: Path, output: Path, _: Sequence[Feeds]) -> Iterator[Attempt]:
        shutil.copyfile(source, output)
        output.with_name("left.onnx").write_text("something to clear away")
        raise error
        yield Attempt()

    return recipe


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [QuantizationError("no"), ParityError("no"), OSError("full"), KeyboardInterrupt()])
def test_an_error_in_the_second_variant_leaves_every_byte_as_it_was(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = plain()
    before = content(folder)
    monkeypatch.setitem(RECIPES, "dynamic_int8", then_fail(error))
    steps = []

    def step(name: str) -> nullcontext[None]:
        steps.append(name)
        return nullcontext()

    with pytest.raises(type(error)):
        add_variants(folder, VariantOptions(precisions=["fp16", "int8"], backends=["onnxruntime"]), step=step)
    assert steps == [f"make {ORT_FP16}", f"measure {ORT_FP16}", f"make {ORT_INT8}"]
    assert content(folder) == before


@pytest.mark.usefixtures("quick")
def test_what_is_there_already_is_made_again_only_with_force(
    plain: Callable[..., Path], few: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plain()
    asked = {"precisions": ["fp16"], "backends": ["onnxruntime"]}
    first = add_variants(folder, VariantOptions(**asked))
    assert files_of(first)[2:] == [("onnxruntime", ORT_FP16)]
    before = content(folder)
    with pytest.raises(ValueError, match=r"holds all of this already: make it again with force \(--force\)"):
        add_variants(folder, VariantOptions(**asked))
    assert content(folder) == before
    again = add_variants(folder, VariantOptions(calibration=few["calibration"], force=True, **asked))
    assert files_of(again) == files_of(first)
    assert again == ExportedFolder.open(folder, verify=True).manifest
    assert again.variants[2].accuracy_drop.calibration_set_sha256 == hash_file(few["calibration"]).sha256
    assert (
        again.variants[2].accuracy_drop.calibration_set_sha256 != first.variants[2].accuracy_drop.calibration_set_sha256
    )
    monkeypatch.setitem(RECIPES, "fused_fp16", then_fail(QuantizationError("no")))
    before = content(folder)
    with pytest.raises(QuantizationError):
        add_variants(folder, VariantOptions(force=True, **asked))
    assert content(folder) == before


@pytest.mark.usefixtures("quick")
def test_what_is_missing_is_made_beside_what_is_there(plain: Callable[..., Path]) -> None:
    folder = plain()
    add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))
    before = content(folder)
    made = add_variants(folder, VariantOptions(precisions=["fp16", "int8"], backends=["onnxruntime"], allow_loss=True))
    assert [file for _, file in files_of(made)[2:]] == [ORT_FP16, ORT_INT8]
    changed = {name for name, found in content(folder).items() if before.get(name) != found}
    assert changed == {ORT_INT8, MANIFEST_FILE}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kept", [True, False])
def test_the_fused_graph_is_kept_only_if_it_is_faster(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr("dpr_export.quantization.variants.speedup", lambda *_: 1.5 if kept else 1.0)
    folder = plain()
    made = add_variants(folder, VariantOptions(precisions=["fp32"]))
    opened = ExportedFolder.open(folder, verify=True)
    assert opened.manifest == made
    assert (folder / "onnx" / "model_ort.onnx").exists() is kept
    assert hidden(folder) == []
    picked = choose(opened, backend="onnxruntime").variant
    if kept:
        assert (picked.file, picked.speedup, picked.verified, picked.accuracy_drop) == (
            "onnx/model_ort.onnx",
            1.5,
            True,
            None,
        )
        assert picked.fused_operators["MultiHeadAttention"] == 2
        assert 0 < picked.parity.share_of_tolerance < 1
    else:
        assert (picked.file, picked.speedup) == (MODEL_FILE, None)
        assert "onnx/model_ort.onnx" not in made.files


@pytest.mark.usefixtures("quick")
def test_a_graph_that_is_not_worth_keeping_is_not_left_beside_the_others(
    plain: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: dict[str, Path]
) -> None:
    folder = plain()
    references = read_reference_outputs(folder / "reference_outputs.npz")
    maker = VariantMaker(KINDS["question"], folder, references, references, read_texts(few["calibration"]), 1e-4)
    (spec,) = (spec for spec in VARIANTS if spec.recipe == "fused")
    monkeypatch.setattr("dpr_export.quantization.variants.speedup", lambda *_: 1.02)
    assert maker.make(spec, tmp_path / "fused.onnx") is None
    assert not (tmp_path / "fused.onnx").exists()
    monkeypatch.setattr("dpr_export.quantization.variants.speedup", lambda *_: 1.03)
    made = maker.make(spec, tmp_path / "fused.onnx")
    assert made is not None
    assert made.speedup == 1.03
    assert (tmp_path / "fused.onnx").exists()


@pytest.mark.usefixtures("quick")
def test_the_versions_of_what_made_the_variants_are_noted_beside_those_of_the_exporter(
    plain: Callable[..., Path],
) -> None:
    folder = plain()
    manifest = ExportedFolder.open(folder).manifest
    older = replace(manifest, versions={"torch": "2.0", "onnxruntime": "1.0"})
    (folder / MANIFEST_FILE).write_text(older.to_json())
    made = add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))
    assert made.versions["torch"] == "2.0"
    assert made.versions["onnxruntime"] == version("onnxruntime")


def test_the_speed_of_a_variant_is_the_other_graphs_time_over_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that the calls move: 2 seconds for the one, 6 for the other, and a slow first call."""
    from dpr_export.quantization import speed
    from tests.doubles.fake_session import FakeSession

    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def taking(seconds: float) -> FakeSession:
        session = FakeSession(lambda _: now.__setitem__(0, now[0] + (seconds if len(session.calls) > 1 else 60)) or {})
        return session

    assert speed.speedup(taking(2), taking(6), {}) == 3.0


@pytest.mark.usefixtures("quick")
def test_a_damaged_folder_gets_no_variants(plain: Callable[..., Path]) -> None:
    folder = plain()
    graph = bytearray((folder / MODEL_FILE).read_bytes())
    graph[len(graph) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(graph)
    before = content(folder)
    with pytest.raises(ValueError, match=r"is damaged: onnx/model\.onnx has SHA-256"):
        add_variants(folder, VariantOptions(precisions=["fp16"]))
    assert content(folder) == before


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["lost", "cut", "changed"])
def test_a_variant_that_is_lost_or_damaged_is_made_again(plain: Callable[..., Path], how: str) -> None:
    folder, asked = plain(), {"precisions": ["fp16"], "backends": ["onnxruntime"]}
    first = add_variants(folder, VariantOptions(**asked))
    graph = folder / ORT_FP16
    if how == "lost":
        graph.unlink()
    else:
        graph.write_bytes(graph.read_bytes()[:-9] + (b"" if how == "cut" else b"others..."))
    again = add_variants(folder, VariantOptions(**asked))
    assert files_of(again) == files_of(first)
    assert ExportedFolder.open(folder, verify=True).manifest == again


@pytest.mark.usefixtures("quick")
def test_only_one_process_at_a_time_adds_variants(plain: Callable[..., Path]) -> None:
    folder = plain()
    before = content(folder)
    command = [Path(sys.executable).with_name("dpr-export"), folder, "--precision", "fp16"]
    with lock_folder(folder):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"dpr-export: {folder} is being changed by another process: try again when that is done" in done.stderr
    assert content(folder) == before
    add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_being_changed_is_not_replaced_and_the_other_way_round(plain: Callable[..., Path]) -> None:
    folder = plain()
    before = content(folder)
    refused = pytest.raises(BlockingIOError, match="is being changed by another process")
    with lock_folder(folder), refused, atomic_folder(folder, True, is_exported_folder):
        raise AssertionError("it is refused before any work")
    with refused, atomic_folder(folder, True, is_exported_folder):
        add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))
    assert content(folder) == before
    assert hidden(folder.parent) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("by", ["another checkpoint", "the same one, exported again"])
def test_a_folder_that_is_replaced_meanwhile_gets_no_variants_of_the_old_one(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    folder = plain()
    manifest = ExportedFolder.open(folder).manifest
    if by == "another checkpoint":
        other = replace(manifest, source=replace(manifest.source, sha256="0" * 64))
    else:
        other = replace(manifest, versions={**manifest.versions, "torch": "99.0"})

    def replaced(source: Path, output: Path, calls: Sequence[Feeds]) -> Iterator[Attempt]:
        made = list(fused_fp16(source, output, calls))
        (folder / MANIFEST_FILE).write_text(other.to_json())
        yield from made

    fused_fp16 = RECIPES["fused_fp16"]
    monkeypatch.setitem(RECIPES, "fused_fp16", replaced)
    with pytest.raises(QuantizationError, match="was replaced meanwhile: nothing is added to it"):
        add_variants(folder, VariantOptions(precisions=["fp16"], backends=["onnxruntime"]))
    assert ExportedFolder.open(folder, verify=True).manifest == other
    assert not (folder / ORT_FP16).exists()
    assert hidden(folder) == []


@pytest.mark.usefixtures("quick")
def test_what_model_onnx_differs_by_counts_in_the_parity_check_of_what_is_compared_with_it(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpr_export.quantization.variants.speedup", lambda *_: 1.5)
    folder = plain()
    manifest = ExportedFolder.open(folder).manifest

    def differing(error: float) -> None:
        parities = [replace(variant.parity, largest_error=error) for variant in manifest.variants]
        variants = tuple(replace(v, parity=parity) for v, parity in zip(manifest.variants, parities, strict=True))
        (folder / MANIFEST_FILE).write_text(replace(manifest, variants=variants).to_json())

    differing(1e-3)
    before = content(folder)
    with pytest.raises(ParityError, match=r"differs from the reference by 1\.00e-03, and the tolerance is 1\..*e-04"):
        add_variants(folder, VariantOptions(precisions=["fp32"]))
    assert content(folder) == before
    differing(5e-5)
    parity = add_variants(folder, VariantOptions(precisions=["fp32"])).variants[2].parity
    assert 5e-5 < parity.largest_error < 6e-5
    assert parity.atol == 1e-4
    assert 0.3 < parity.share_of_tolerance < 0.6


@pytest.mark.usefixtures("quick")
def test_a_folder_without_a_parity_check_of_model_onnx_gets_no_variants(
    tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_variants["question"], tmp_path / "copy")
    manifest = ExportedFolder.open(tmp_path / "copy").manifest
    lossy = replace(manifest, variants=tuple(variant for variant in manifest.variants if variant.accuracy_drop))
    (tmp_path / "copy" / MANIFEST_FILE).write_text(lossy.to_json())
    with pytest.raises(ValueError, match=r"has no onnx/model\.onnx that passed the parity check, and variants"):
        add_variants(tmp_path / "copy", VariantOptions(precisions=["fp32"]))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"title": "only a title", "text": "and a text"}\n',
            "calibration: no row has question, which a question model",
        ),
        ("[]", r"calibration .*own\.jsonl, line 1: not a JSON object"),
        (None, r"calibration .*own\.jsonl cannot be read: No such file or directory"),
    ],
)
def test_texts_that_cannot_calibrate_are_refused_at_once(
    plain: Callable[..., Path], tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "own.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises((ValueError, OSError), match=message):
        add_variants(plain(), VariantOptions(precisions=["int8"], calibration=file))


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_clear_error(plain: Callable[..., Path]) -> None:
    folder = plain()
    before = content(folder)
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    as_anyone = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    command = Path(sys.executable).with_name("dpr-export")
    done = subprocess.run(
        [*as_anyone, command, folder, "--precision", "fp16", "--backend", "onnxruntime"],
        capture_output=True,
        text=True,
        check=False,
    )
    for place in places:
        place.chmod(0o755)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("dpr-export: "))
    assert "Permission denied" in line
    assert str(folder) in line
    assert "Traceback" not in done.stderr
    assert content(folder) == before


@pytest.mark.usefixtures("quick")
def test_an_encoder_that_is_open_keeps_answering_while_its_graph_is_made_again(
    tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_variants["question"], tmp_path / "copy")
    with DPRQuestionEncoder.from_pretrained(tmp_path / "copy", backend="onnxruntime", precision="fp16") as model:
        before = model.encode(["who wrote hamlet ?"])
        add_variants(tmp_path / "copy", VariantOptions(precisions=["fp16"], backends=["onnxruntime"], force=True))
        assert (model.encode(["who wrote hamlet ?"]) == before).all()
