"""Graphs with hidden states, attentions and embeddings are verified, and refused where they are wrong."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from dpr_export.exporter import ExportError, ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.tracing import trace as tracing
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.reference_outputs import read_reference_outputs, select_examples
from dpr_export.models.artifact.variants import EMBEDS_FILE, MODEL_FILE
from dpr_export.models.kinds import EMBEDS, IDS, KINDS
from dpr_export.quantization import VariantOptions, add_variants
from dpr_export.runtime.checks.verify import verify
from tests.checkpoints import checkpoint_in

HIDDEN = ["hidden_states.0", "hidden_states.1", "hidden_states.2"]
ATTENTIONS = ["attentions.0", "attentions.1"]


def outputs(folder: Path, file: str = MODEL_FILE) -> list[str]:
    return [value.name for value in onnx.load(folder / file).graph.output]


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_gives_what_was_asked_for_on_every_engine(tiny_whole: dict[str, Path], kind: str) -> None:
    folder = tiny_whole[kind]
    for file in (MODEL_FILE, EMBEDS_FILE):
        assert outputs(folder, file) == [*KINDS[kind].outputs, *HIDDEN, *ATTENTIONS]
    manifest = ExportedFolder.open(folder, verify=True).manifest
    assert {(v.backend, v.file, v.optional_outputs) for v in manifest.variants} == {
        (backend, file, ("hidden_states", "attentions"))
        for backend in ("onnxruntime", "openvino")
        for file in (MODEL_FILE, EMBEDS_FILE)
    }
    assert all(check.passed for check in verify(folder)), list(verify(folder))


def test_the_examples_kept_hold_the_extra_outputs_and_embeddings(tiny_whole: dict[str, Path]) -> None:
    references = read_reference_outputs(tiny_whole["reader"] / "reference_outputs.npz")
    with_ids, with_embeds = select_examples(references, IDS), select_examples(references, EMBEDS)
    assert [call.shape for call in with_ids] == [call.shape for call in with_embeds] == [(3, 7), (2, 16)]
    assert with_embeds[0].feeds[EMBEDS].shape == (3, 7, 32)
    assert with_ids[0].reference["attentions.1"].shape == (3, 4, 7, 7)


def test_the_graph_that_takes_embeddings_has_no_table_of_words(tiny_whole: dict[str, Path]) -> None:
    shapes = [list(tensor.dims) for tensor in onnx.load(tiny_whole["context"] / EMBEDS_FILE).graph.initializer]
    assert [120, 32] not in shapes
    assert [120, 32] in [
        list(tensor.dims) for tensor in onnx.load(tiny_whole["context"] / MODEL_FILE).graph.initializer
    ]


def test_only_what_is_asked_for_is_given(checkpoint, tmp_path: Path) -> None:
    export(str(checkpoint("context")), tmp_path / "out", ExportOptions(output_attentions=True))
    assert outputs(tmp_path / "out") == ["pooler_output", *ATTENTIONS]
    assert not (tmp_path / "out" / EMBEDS_FILE).exists()


@pytest.mark.parametrize(
    ("asked", "given"), [pytest.param(None, HIDDEN, marks=pytest.mark.ci), (True, HIDDEN), (False, [])]
)
def test_the_configurations_default_is_followed_unless_the_export_says_otherwise(
    checkpoint, tmp_path: Path, asked: bool | None, given: list[str]
) -> None:
    source = checkpoint("question", output_hidden_states=True)
    assert json.loads((source / "config.json").read_text())["output_hidden_states"]
    export(str(source), tmp_path / "out", ExportOptions(output_hidden_states=asked))
    assert outputs(tmp_path / "out") == ["pooler_output", *given]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["output_hidden_states"] is bool(given)


@pytest.mark.parametrize("name", ["hidden_states.1", "attentions.0"])
def test_an_extra_output_that_is_wrong_is_not_verified(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trace = tracing.trace

    def swapped(loaded: object, path: Path, *how: object) -> None:
        """Give the neighbouring layer's in its place."""
        trace(loaded, path, *how)
        model = onnx.load(path)
        field, number = name.split(".")
        values = {value.name: value for value in model.graph.output}
        other = f"{field}.{1 - int(number)}"
        values[name].name, values[other].name = other, name
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [{name: other, other: name}.get(each, each) for each in names]
        values[name].name, values[other].name = name, other
        onnx.save(model, path)

    monkeypatch.setattr("dpr_export.exporter.tracing.trace.trace", swapped)
    with pytest.raises(ExportError, match=r"parity check failed: (hidden_states|attentions)\.\d at 1 x"):
        export(
            str(checkpoint("question")),
            tmp_path / "out",
            ExportOptions(output_hidden_states=True, output_attentions=True),
        )
    assert not (tmp_path / "out").exists()


def test_a_wrong_graph_of_embeddings_is_not_verified(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tracing.trace
    other = load(checkpoint_in(checkpoint("reader", "other", seed=5), "other"))

    def swapped(loaded: object, path: Path, opset: int, optional_outputs: object, tokens: str) -> None:
        trace(other if tokens == EMBEDS else loaded, path, opset, optional_outputs, tokens)

    monkeypatch.setattr("dpr_export.exporter.tracing.trace.trace", swapped)
    monkeypatch.setattr("dpr_export.exporter.tracing.weights.check_weights", lambda *_, **__: None)
    with pytest.raises(ExportError, match="parity check failed: start_logits at 1 x 1 differs"):
        export(str(checkpoint("reader")), tmp_path / "out", ExportOptions(inputs_embeds=True))
    assert not (tmp_path / "out").exists()


def test_lossy_variants_of_such_a_graph_are_refused(checkpoint, tmp_path: Path, tiny_whole: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="precision int8 cannot be combined with attentions: their loss"):
        export(
            str(checkpoint("reader")),
            tmp_path / "out",
            ExportOptions(precisions=["fp32", "int8"], output_attentions=True),
        )
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"was exported with hidden_states and attentions: variants cannot be made"):
        add_variants(tiny_whole["reader"], VariantOptions(precisions=["int8"]))
    with pytest.raises(
        ValueError, match=r"inputs_embeds does not apply to .*: variants are added to an exported folder"
    ):
        export(str(tiny_whole["reader"]), options=ExportOptions(inputs_embeds=True))


@pytest.mark.usefixtures("quick")
@pytest.mark.ci
def test_a_folder_with_embeddings_alone_takes_variants(checkpoint, tmp_path: Path, few: dict[str, Path]) -> None:
    export(str(checkpoint("question")), tmp_path / "out", ExportOptions(inputs_embeds=True))
    add_variants(
        tmp_path / "out",
        VariantOptions(precisions=["fp16"], backends=["onnxruntime"], calibration=few["calibration"], allow_loss=True),
    )
    files = {variant.file for variant in ExportedFolder.open(tmp_path / "out", verify=True).manifest.variants}
    assert {EMBEDS_FILE, MODEL_FILE, "onnx/model_ort_fp16.onnx"} <= files
    assert all(check.passed is not False for check in verify(tmp_path / "out"))


def test_the_ordinary_graph_is_not_changed_by_what_others_may_give(tiny: dict[str, Path]) -> None:
    """Its last layer is computed for one row: no product there has the whole sequence but the keys' and values'."""
    assert outputs(tiny["question"]) == ["pooler_output"]
    gathers = [node.name for node in onnx.load(tiny["question"] / MODEL_FILE).graph.node if node.op_type == "Slice"]
    assert gathers


def test_embeddings_of_the_grid_are_no_words(checkpoint) -> None:
    from dpr_export.exporter.tracing.reference_outputs import run_pytorch

    loaded = load(checkpoint_in(checkpoint("context"), "it"))
    (call,) = run_pytorch(loaded, [(2, 5)], tokens=EMBEDS)
    (table,) = (w.detach().numpy() for n, w in loaded.model.named_parameters() if "word_embeddings" in n)
    nearest = np.abs(call.feeds[EMBEDS][:, :, None] - table).max(axis=-1).min(axis=-1)
    assert nearest.min() > 0.01 * table.std()
    with torch.no_grad():
        assert loaded.model(
            inputs_embeds=torch.from_numpy(call.feeds[EMBEDS]),
            attention_mask=torch.from_numpy(call.feeds["attention_mask"]),
            token_type_ids=torch.from_numpy(call.feeds["token_type_ids"]),
        ).pooler_output.numpy() == pytest.approx(call.reference["pooler_output"], abs=1e-6)
