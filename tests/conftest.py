"""Checkpoints that the tests make: tiny random ones of each kind, as transformers writes them; and exported folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dpr_export.exporter import ExportOptions, export
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import MANIFEST_FILE
from dpr_export.models.artifact.variants import BACKENDS, MODEL_FILE, PRECISIONS
from dpr_export.models.kinds import KINDS
from dpr_export.quantization import VariantOptions, add_variants, variants
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE

WORDS = (
    "who wrote hamlet ? shakespeare is a play by william the capital of france paris river what when where it was "
    "in on and , . ' - ! ##s ##ing ##ed ##a ##b a b c d e f g h i j k l m n o p q r s t u v w x y z"
).split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
TINY = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}

FEW = 24

MakeCheckpoint = Callable[..., Path]
CopyPlain = Callable[..., Path]


def write_checkpoint(folder: Path, kind: str, seed: int = 0, **config: Any) -> Path:
    """Write a checkpoint with random weights of one kind, and a vocabulary."""
    torch.manual_seed(seed)
    configuration = transformers.DPRConfig(**{**TINY, **config})
    model = getattr(transformers, KINDS[kind].architecture)(configuration)
    for name, parameter in model.named_parameters():  # biases and LayerNorm too, which start as zeros and ones
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.2)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """A function that writes a tiny checkpoint: `checkpoint("reader", hidden_act="relu")`."""

    def make(kind: str, name: str = "checkpoint", **config: Any) -> Path:
        return write_checkpoint(tmp_path / name, kind, **config)

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An exported folder of each kind, by its name; `tiny_checkpoints` holds what they were made from."""
    folder = tmp_path_factory.mktemp("tiny")
    made = {}
    for kind in KINDS:
        source = write_checkpoint(folder / f"{kind}-checkpoint", kind)
        export(str(source), folder / kind)
        made[kind] = folder / kind
    return made


@pytest.fixture(scope="session")
def tiny_whole(tiny: dict[str, Path]) -> dict[str, Path]:
    """The tiny folders again, with hidden states, attentions, and a graph that takes embeddings."""
    made = {}
    for kind, folder in tiny.items():
        made[kind] = folder.with_name(f"{kind}-whole")
        source = folder.with_name(f"{kind}-checkpoint")
        export(
            str(source),
            made[kind],
            ExportOptions(output_hidden_states=True, output_attentions=True, inputs_embeds=True),
        )
    return made


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The exported demo model of each kind: trained weights."""
    folder = tmp_path_factory.mktemp("demo")
    for kind in KINDS:
        export(f"demo/{kind}", folder / f"{kind}-onnx")
    return {kind: folder / f"{kind}-onnx" for kind in KINDS}


def copy_plain(source: Path, output: Path) -> Path:
    """Copy an exported folder with `model.onnx` as its only graph, whatever was found worth keeping beside it."""
    shutil.copytree(source, output)
    manifest = json.loads(ExportedFolder.open(source).manifest.to_json())
    manifest["variants"] = [variant for variant in manifest["variants"] if variant["file"] == MODEL_FILE]
    for name in [name for name in manifest["files"] if name.startswith("onnx/") and name != MODEL_FILE]:
        del manifest["files"][name]
        (output / name).unlink()
    (output / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return output


@pytest.fixture
def plain(tiny: dict[str, Path], tmp_path: Path) -> CopyPlain:
    """A function that copies a tiny folder, with `model.onnx` as its only graph: `plain("reader", "copy")`."""
    return lambda kind="question", name="plain": copy_plain(tiny[kind], tmp_path / name)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The first texts of the two sets, "calibration" and "judging": with so few a gate takes a second."""
    folder = tmp_path_factory.mktemp("few")
    files = {"calibration": folder / "calibration_set.jsonl", "judging": folder / "evaluation_set.jsonl"}
    for name, source in (("calibration", CALIBRATION_SET_FILE), ("judging", EVALUATION_SET_FILE)):
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:FEW]
        files[name].write_text("".join(lines), encoding="utf-8")
    return files


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, few: dict[str, Path]) -> None:
    """Judge on few texts, and time nothing."""
    monkeypatch.setattr(variants, "EVALUATION_SET_FILE", few["judging"])
    monkeypatch.setattr(variants, "speedup", lambda *_: 1.5)


@pytest.fixture(scope="session")
def tiny_variants(
    tiny: dict[str, Path], few: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Of each kind, the tiny folder with every row of the table of variants, whatever they lose."""
    folder = tmp_path_factory.mktemp("every")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "EVALUATION_SET_FILE", few["judging"])
        patch.setattr(variants, "speedup", lambda *_: 1.5)
        for kind in KINDS:
            copy_plain(tiny[kind], folder / kind)
            add_variants(
                folder / kind,
                VariantOptions(
                    precisions=PRECISIONS, backends=BACKENDS, calibration=few["calibration"], allow_loss=True
                ),
            )
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(scope="session")
def demo_variants(demo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo question encoder with every lossy variant: trained weights, within the bounds."""
    folder = tmp_path_factory.mktemp("trained") / "question-onnx"
    shutil.copytree(demo["question"], folder)
    add_variants(folder, VariantOptions(precisions=["fp16", "int8"], backends=BACKENDS))
    return folder
