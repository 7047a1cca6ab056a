"""Graphs with data beside them, as large weights have: every command takes both files, and no two models are mixed up.

Here the smallest weights count as large, so that tiny models have such graphs.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import uses_external_data
from safetensors.torch import load_file, save_file

from dpr_export.exporter import ExportOptions, export
from dpr_export.models.artifact.folder import ExportedFolder, hash_graph
from dpr_export.models.artifact.graph_files import data_file
from dpr_export.models.artifact.variants import BACKENDS, EMBEDS_FILE, MODEL_FILE, PRECISIONS
from dpr_export.quantization import VariantOptions, add_variants
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder
from dpr_export.runtime.checks.pack import pack
from dpr_export.runtime.checks.verify import verify
from dpr_export.runtime.corpus.encoding.job import describe_encoder
from dpr_export.runtime.inference import verdicts
from tests.commands import run_command
from tests.conftest import write_checkpoint
from tests.exported import Exported, quick_gate

INT8 = "onnx/model_int8.onnx"
WEIGHTS = "model.safetensors"
TEXTS = ["who wrote hamlet ?", "paris"]
ON_CPU = [
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "int8"),
]


@pytest.fixture(scope="module", autouse=True)
def small_counts_as_large(tiny_variants: dict[str, Path]) -> Iterator[None]:
    """Count all weights as large, once the folders that other tests share are made."""
    assert tiny_variants
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpr_export.quantization.save_graph.LARGEST_INLINE", 0)
        yield


@pytest.fixture(scope="module")
def large(exported_folders: Exported, tiny: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny question encoder with every row of the table of variants; compare `tiny_variants`."""
    source, folder = tiny["question"].with_name("question-checkpoint"), tmp_path_factory.mktemp("large") / "question"
    options = ExportOptions(
        precisions=PRECISIONS, backends=BACKENDS, calibration=exported_folders.few("calibration"), allow_loss=True
    )
    with quick_gate(exported_folders.few("judging")), pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpr_export.quantization.recipes.MOST_PARTS", 0)
        export(str(source), folder, options)
    return folder


def export_pair(root: Path, kind: str) -> tuple[Path, Path]:
    """Export two models that differ in one large weight alone, so that their .onnx files are equal."""
    one = write_checkpoint(root / "checkpoint-1", kind)
    other = shutil.copytree(one, root / "checkpoint-2")
    weights = load_file(other / WEIGHTS)
    (name,) = (name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, other / WEIGHTS, metadata={"format": "pt"})
    for checkpoint, folder in ((one, root / "1"), (other, root / "2")):
        export(str(checkpoint), folder)
    return root / "1", root / "2"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return export_pair(tmp_path_factory.mktemp("pair"), "question")


def vectors(folder: str | Path, backend: str = "openvino", precision: str = "fp32") -> np.ndarray:
    with DPRQuestionEncoder.from_pretrained(folder, backend=backend, precision=precision) as model:
        return model.encode(TEXTS)


@pytest.mark.ci
def test_every_graph_refers_to_its_own_data_and_the_manifest_lists_both_files(large: Path) -> None:
    manifest = ExportedFolder.open(large, verify=True).manifest
    graphs = {variant.file for variant in manifest.variants}
    assert len(graphs) == 7
    for graph in graphs:
        tensors = onnx.load(large / graph, load_external_data=False).graph.initializer
        (location,) = {t.external_data[0].value for t in tensors if uses_external_data(t)}
        assert location == Path(data_file(graph)).name
        assert manifest.files_of(graph) == (graph, data_file(graph))
        assert manifest.graph_sha256(graph) == hash_graph(large / graph)
    assert {name for name in manifest.files if name.startswith("onnx/")} == {*graphs, *map(data_file, graphs)}
    assert {f"onnx/{path.name}" for path in (large / "onnx").iterdir()} == {*graphs, *map(data_file, graphs)}


@pytest.mark.ci
@pytest.mark.parametrize(("backend", "precision"), ON_CPU)
def test_each_variant_gives_what_it_gives_in_one_file_also_packed(
    large: Path, tiny_variants: dict[str, Path], tmp_path: Path, backend: str, precision: str
) -> None:
    found = vectors(large, backend, precision)
    assert np.allclose(found, vectors(tiny_variants["question"], backend, precision), atol=1e-5)
    (variant,) = pack(large, tmp_path / "packed", f"{backend}-{precision}").variants
    assert sorted(path.name for path in (tmp_path / "packed" / "onnx").iterdir()) == [
        Path(variant.file).name,
        Path(data_file(variant.file)).name,
    ]
    ExportedFolder.open(tmp_path / "packed", verify=True)
    assert np.array_equal(vectors(tmp_path / "packed", backend, precision), found)


@pytest.mark.ci
def test_verify_runs_every_variant_and_finds_damaged_data(large: Path, tmp_path: Path) -> None:
    assert all(check.passed in (True, None) for check in verify(large)), list(verify(large))
    shutil.copytree(large, tmp_path / "copy")
    data = tmp_path / "copy" / data_file(INT8)
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    failed = [check.what for check in verify(tmp_path / "copy") if check.passed is False]
    assert failed[0] == data_file(INT8)
    assert {what.partition(" ")[0] for what in failed} <= {data_file(INT8), INT8}
    with pytest.raises(ValueError, match=r"is damaged: onnx/model_int8\.onnx\.data has SHA-256"):
        pack(tmp_path / "copy", tmp_path / "packed", "openvino-int8")
    data.write_bytes(b"short")
    with pytest.raises(ValueError, match=r"is damaged: onnx/model_int8\.onnx\.data has 5 bytes"):
        vectors(tmp_path / "copy", precision="int8")
    data.unlink()
    with pytest.raises(ValueError, match=r"is damaged: onnx/model_int8\.onnx\.data is missing"):
        vectors(tmp_path / "copy", precision="int8")


def test_the_commands_take_both_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    packed = run_command("dpr-runtime", "pack", pair[0], "-o", tmp_path / "packed", "--variant", "onnxruntime-fp32")
    assert packed.stdout.startswith("onnxruntime fp32 in ")
    assert "onnx/model.onnx.data" in run_command("dpr-runtime", "inspect", pair[0]).stdout
    assert "onnx/model.onnx.data" in run_command("dpr-runtime", "verify", pair[0]).stdout
    with DPRQuestionEncoder.from_pretrained(pair[0]) as model:
        model.save_pretrained(tmp_path / "saved")
    assert np.array_equal(vectors(tmp_path / "saved"), vectors(pair[0]))


def test_two_models_with_one_graph_are_told_apart(pair: tuple[Path, Path]) -> None:
    one, other = (ExportedFolder.open(folder).manifest for folder in pair)
    assert one.files[MODEL_FILE] == other.files[MODEL_FILE]
    assert one.graph_sha256(MODEL_FILE) != other.graph_sha256(MODEL_FILE)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_new_model_in_the_place_of_an_old_one_gives_its_own_vectors(
    pair: tuple[Path, Path], tmp_path: Path, backend: str
) -> None:
    """With the same path, size and time of its graph, which is how OpenVINO's cache tells graphs apart."""
    expected = [vectors(folder, backend) for folder in pair]
    found = []
    for folder in (*pair, pair[0]):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "model")
        for path in (tmp_path / "model").rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        found.append(vectors(tmp_path / "model", backend))
    assert np.array_equal(found, [expected[0], expected[1], expected[0]])
    assert not np.allclose(expected[0], expected[1])


def test_data_that_were_damaged_and_put_right_are_not_compiled_from_the_cache(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_remembered", {})
    shutil.copytree(pair[0], tmp_path / "model")
    data = tmp_path / "model" / data_file(MODEL_FILE)
    shutil.copyfile(pair[1] / data_file(MODEL_FILE), data)  # of the same size
    with pytest.raises(ValueError, match=r"is damaged: onnx/model\.onnx\.data has SHA-256"):
        vectors(tmp_path / "model")
    shutil.copyfile(pair[0] / data_file(MODEL_FILE), data)
    assert np.array_equal(vectors(tmp_path / "model"), vectors(pair[0]))


@pytest.mark.ci
@pytest.mark.usefixtures("quick")
def test_a_variant_that_is_made_again_replaces_both_files_whatever_it_had(
    pair: tuple[Path, Path], tmp_path: Path, few: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pair[0], folder)
    graph, data = "onnx/model_ort_int8.onnx", data_file("onnx/model_ort_int8.onnx")

    def make(**options: bool) -> None:
        add_variants(
            folder,
            VariantOptions(
                precisions=["int8"],
                backends=["onnxruntime"],
                calibration=few["calibration"],
                allow_loss=True,
                **options,
            ),
        )
        ExportedFolder.open(folder, verify=True)
        listed = {name for name in ExportedFolder.open(folder).manifest.files if name.startswith("onnx/")}
        assert {f"onnx/{path.name}" for path in (folder / "onnx").iterdir()} == listed

    make()
    assert ExportedFolder.open(folder).manifest.files_of(graph) == (graph, data)
    expected = vectors(folder, "onnxruntime", "int8")
    with monkeypatch.context() as patch:
        patch.setattr("dpr_export.quantization.save_graph.LARGEST_INLINE", 1 << 30)
        make(force=True)
    assert ExportedFolder.open(folder).manifest.files_of(graph) == (graph,)
    assert np.array_equal(vectors(folder, "onnxruntime", "int8"), expected)
    make(force=True)
    (folder / data).write_bytes(b"damaged")
    make()  # made again, since its data are damaged
    assert np.array_equal(vectors(folder, "onnxruntime", "int8"), expected)


@pytest.mark.ci
def test_optional_outputs_and_embeddings_have_data_too(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    options = ExportOptions(output_hidden_states=True, output_attentions=True, inputs_embeds=True)
    manifest = export(str(checkpoint("question")), tmp_path / "out", options)
    assert {data_file(MODEL_FILE), data_file(EMBEDS_FILE)} <= manifest.files.keys()
    with DPRQuestionEncoder.from_pretrained(tmp_path / "out") as model:
        found = model(inputs_embeds=np.ones((1, 4, 32), np.float32), output_hidden_states=True)
    assert len(found.hidden_states) == 3
    (tmp_path / "out" / data_file(EMBEDS_FILE)).unlink()
    with (
        DPRQuestionEncoder.from_pretrained(tmp_path / "out") as model,
        pytest.raises(ValueError, match=r"is damaged: onnx/model_embeds\.onnx\.data is missing"),
    ):
        model(inputs_embeds=np.ones((1, 4, 32), np.float32))


@pytest.mark.ci
def test_a_corpus_is_not_continued_with_other_weights(tmp_path: Path) -> None:
    encoders = []
    for folder in export_pair(tmp_path, "context"):
        with DPRContextEncoder.from_pretrained(folder) as model:
            encoders.append(describe_encoder(model))
    assert encoders[0].graph_sha256 != encoders[1].graph_sha256
    assert encoders[0] == replace(encoders[1], name=encoders[0].name, graph_sha256=encoders[0].graph_sha256)
