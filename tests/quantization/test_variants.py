"""What a folder says of its lossy variants is true: measured again from the files, and against transformers."""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers

from dpr_export.exporter.demo.checkpoint import write_checkpoint
from dpr_export.models.artifact.folder import ExportedFolder, hash_folder
from dpr_export.models.artifact.manifest import MANIFEST_FILE, REQUIRED_FILES, AccuracyDrop, Manifest, Variant
from dpr_export.models.artifact.variants import BOUNDS, MODEL_FILE, VARIANTS, order_for
from dpr_export.models.kinds import QUESTION
from dpr_export.quantization import Gate, read_texts
from dpr_export.quantization.gate import cosine
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.engines.processors import processor_kind, usable_processors
from dpr_export.runtime.engines.session import SESSION_CLASSES, open_session
from dpr_export.runtime.inference.selection import choose
from tests.commands import run_command

COMMAND = Path(sys.executable).with_name("dpr-runtime")
pytestmark = pytest.mark.ci

LOSSY = [(spec.backend, spec.precision) for spec in VARIANTS if spec.lossy]
FIGURES = ("mean_cosine", "least_cosine", "top1", "top10", "least_cosine_alone")


def manifest_of(folder: Path) -> Manifest:
    return ExportedFolder.open(folder).manifest


def lossy_of(folder: Path) -> dict[tuple[str, str], tuple[Variant, AccuracyDrop]]:
    return {(v.backend, v.precision): (v, v.accuracy_drop) for v in manifest_of(folder).variants if v.accuracy_drop}


@pytest.fixture(scope="module")
def gate(demo_variants: Path) -> Iterator[Gate]:
    reference = open_session("onnxruntime", demo_variants / MODEL_FILE, threads=usable_processors())
    yield Gate(QUESTION, demo_variants, reference, read_texts(EVALUATION_SET_FILE).rows)
    reference.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What transformers answers to the first judging questions, (40, dim)."""
    folder = tmp_path_factory.mktemp("original")
    write_checkpoint("question", folder)
    tokenizer = transformers.DPRQuestionEncoderTokenizer.from_pretrained(folder)
    model = transformers.DPRQuestionEncoder.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**tokenizer(questions(), padding=True, return_tensors="pt")).pooler_output.numpy()


def questions() -> list[str]:
    return [row.question for row in read_texts(EVALUATION_SET_FILE).rows[:40]]


def test_every_lossy_variant_that_was_asked_for_keeps_every_bound(demo_variants: Path) -> None:
    assert list(lossy_of(demo_variants)) == LOSSY
    for variant, loss in lossy_of(demo_variants).values():
        assert tuple(loss.metrics) == FIGURES
        assert loss.below_bound == ()
        assert variant.parity is None
        assert all(BOUNDS.get(name, 0.8) <= value <= 1.00001 for name, value in loss.metrics.items())
        assert {"fp16": 0.9999, "int8": 0.97}[variant.precision] < loss.sample_cosine <= 1
        assert loss.sample_bound == 0.97
        assert loss.shapes == manifest_of(demo_variants).variants[0].parity.shapes
        assert 0 < loss.largest_error < float("inf")


@pytest.mark.parametrize(("backend", "precision"), LOSSY)
def test_the_figures_are_those_that_a_new_gate_measures(
    demo_variants: Path, gate: Gate, backend: str, precision: str
) -> None:
    variant, loss = lossy_of(demo_variants)[backend, precision]
    engine = backend if (backend, "cpu") in SESSION_CLASSES else "onnxruntime"
    session = open_session(engine, demo_variants / variant.file, threads=usable_processors(), cache=False)
    assert loss.engine == session.engine
    assert gate.judge(session) == pytest.approx(loss.metrics, abs=1e-3)
    session.close()


@pytest.mark.parametrize(
    ("backend", "precision", "least"),
    [
        ("openvino", "int8", 0.97),
        ("onnxruntime", "int8", 0.97),
        ("onnxruntime", "fp16", 0.9999),
        ("openvino", "fp32", 0.999999),
    ],
)
def test_a_variant_gives_nearly_what_transformers_gives(
    demo_variants: Path, original: np.ndarray, backend: str, precision: str, least: float
) -> None:
    with DPRQuestionEncoder.from_pretrained(demo_variants, backend=backend, precision=precision) as model:
        found = model.encode(questions())
    cosines = cosine(original, found)
    assert least <= cosines.min() <= cosines.mean() <= 1.00001
    assert cosines.mean() >= (BOUNDS["mean_cosine"] if precision != "fp32" else least)
    strangers = cosine(original, np.roll(found, 1, axis=0))
    assert strangers.max() < 0.9  # the cosine tells vectors apart


def test_fused_operators_are_counted_as_the_files_have_them(demo_variants: Path) -> None:
    fused = {v.file: v.fused_operators for v in manifest_of(demo_variants).variants if v.fused_operators}
    assert {"onnx/model_ort_fp16.onnx", "onnx/model_ort_int8.onnx"} <= fused.keys()
    for file, counts in fused.items():
        nodes = Counter(node.op_type for node in onnx.load(demo_variants / file).graph.node)
        assert counts["MultiHeadAttention"] == 6
        assert {name: nodes[name] for name in counts} == counts
    for file in ("onnx/model_fp16.onnx", "onnx/model_int8.onnx"):
        assert file not in fused
        assert {node.domain for node in onnx.load(demo_variants / file).graph.node} == {""}


def test_the_texts_are_named_by_their_sha256(demo_variants: Path) -> None:
    for _, loss in lossy_of(demo_variants).values():
        assert loss.calibration_set_sha256 == hashlib.sha256(CALIBRATION_SET_FILE.read_bytes()).hexdigest()
        assert loss.evaluation_set_sha256 == hashlib.sha256(EVALUATION_SET_FILE.read_bytes()).hexdigest()


def test_a_lossy_graph_is_smaller(demo_variants: Path) -> None:
    files = manifest_of(demo_variants).files
    for variant, loss in lossy_of(demo_variants).values():
        share = {"fp16": 0.51, "int8": 0.3}[variant.precision]
        if variant.file == "onnx/model_trt_int8.onnx":
            share = 0.4  # embeddings in fp16
        elif "a scale for each 128 numbers" in loss.settings:
            share = 0.66  # embeddings in float32, which are half of this small model
        assert files[variant.file].bytes < share * files[MODEL_FILE].bytes


def test_what_was_not_shown_on_a_gpu_is_not_verified_and_never_picked_by_itself(demo_variants: Path) -> None:
    folder = ExportedFolder.open(demo_variants)
    for variant, _ in lossy_of(demo_variants).values():
        on_cpu = variant.precision == "int8" and variant.backend != "tensorrt"
        assert variant.verified is on_cpu
        assert (variant.speedup is None) is not on_cpu
    preferred = next(spec for spec in order_for(processor_kind()) if spec.precision == "int8" and "cpu" in spec.devices)
    assert choose(folder).variant.file == preferred.file
    assert choose(folder, backend="onnxruntime").variant.file == "onnx/model_ort_int8.onnx"


def test_the_files_are_those_of_the_manifest_and_no_others(demo_variants: Path) -> None:
    folder = ExportedFolder.open(demo_variants, verify=True)
    assert hash_folder(demo_variants) == folder.manifest.files
    top = {*REQUIRED_FILES, "onnx", MANIFEST_FILE}
    assert {path.name for path in demo_variants.iterdir()} == top
    with DPRQuestionEncoder.from_pretrained(demo_variants, verify=True) as model:
        assert "_int8.onnx" in model.explain()


def test_what_was_there_before_is_as_it_was(demo: dict[str, Path], demo_variants: Path) -> None:
    before, after = manifest_of(demo["question"]), manifest_of(demo_variants)
    assert after.variants[: len(before.variants)] == before.variants
    assert {name: after.files[name] for name in before.files} == before.files
    assert (after.kind, after.source, after.opset) == (before.kind, before.source, before.opset)


def test_verify_passes_and_says_what_it_could_not_look_at(demo_variants: Path) -> None:
    done = run_command("dpr-runtime", "verify", demo_variants)
    assert done.stdout.splitlines()[-1] == "PASSED"
    assert "FAILED" not in done.stdout
    assert "skipped onnx/model_fp16.onnx on tensorrt" in done.stdout
    for backend, file in (("openvino", "int8"), ("onnxruntime", "ort_int8"), ("onnxruntime", "ort_fp16")):
        assert f"ok      onnx/model_{file}.onnx on {backend}: least cosine " in done.stdout
