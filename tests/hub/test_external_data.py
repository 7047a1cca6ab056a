"""A graph with data beside it on the hub: both files are pushed, downloaded and loaded by every engine on a CPU."""

import os
from pathlib import Path

import numpy as np
import pytest

from dpr_export.exporter import export, push
from dpr_export.models.artifact.graph_files import data_file
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.engines import openvino
from dpr_export.runtime.engines.compile_cache import cache_home
from tests.conftest import write_checkpoint
from tests.hub.server import TOKEN, Hub

NAME = "somebody/question-onnx"
GRAPH, DATA, FUSED = "onnx/model.onnx", "onnx/model.onnx.data", "onnx/model_ort.onnx"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def vectors(name: str | Path, backend: str, **how: object) -> np.ndarray:
    with DPRQuestionEncoder.from_pretrained(name, backend=backend, precision="fp32", **how) as model:
        return model.encode(["who wrote hamlet ?", "paris"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    checkpoint = write_checkpoint(root / "checkpoint", "question")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dpr_export.quantization.save_graph.LARGEST_INLINE", 0)
        export(str(checkpoint), root / "question-onnx")
    return root / "question-onnx"


@pytest.fixture
def pushed(hub: Hub, folder: Path) -> Path:
    push(folder, NAME, token=TOKEN)
    assert {GRAPH, DATA} <= list(hub.repos[NAME].commits.values())[-1].keys()
    hub.requests.clear()
    return folder


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kept", ["linked", "copied", "nowhere"])
def test_both_files_are_downloaded_and_loaded(
    hub: Hub, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, kept: str
) -> None:
    """OpenVINO refuses data behind a link out of the graph's folder, as the hub's cache has them."""
    if kept == "copied":  # from another file system

        def refuse(*_: object) -> None:
            raise OSError("cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    if kept == "nowhere":
        monkeypatch.setattr(openvino, "kept_folder", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = vectors(pushed, backend)
    assert np.array_equal(vectors(NAME, backend), expected)
    graphs = {name for name in hub.downloads() if name.startswith("onnx/")}
    assert graphs in ({GRAPH, DATA}, {FUSED, data_file(FUSED)})
    assert np.array_equal(vectors(NAME, backend, local_files_only=True), expected)
    assert list(tmp_path.glob("dpr-export-*")) == []
    hub.requests.clear()
    with DPRQuestionEncoder.from_pretrained(NAME, backend=backend) as model:
        model.save_pretrained(tmp_path / "saved")
    assert np.array_equal(vectors(tmp_path / "saved", backend), expected)


def test_data_that_were_cut_off_are_downloaded_again(hub: Hub, pushed: Path, tmp_path: Path) -> None:
    expected = vectors(pushed, "openvino")
    vectors(NAME, "openvino")
    (data,) = (tmp_path / "cache").rglob("model.onnx.data")
    with data.open("r+b") as file:
        file.truncate(100)
    compiled = list(cache_home().rglob("*.blob"))
    assert compiled
    for path in compiled:  # or the weights would not be read again
        path.unlink()
    hub.requests.clear()
    assert np.array_equal(vectors(NAME, "openvino"), expected)
    assert hub.downloads() == [DATA]
