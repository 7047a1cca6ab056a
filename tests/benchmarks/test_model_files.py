"""The models that are compared are made, from a tiny checkpoint, and run."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.model_files import TINY, WorkFolder, make
from dpr_export.runtime import DPRContextEncoder


@pytest.mark.ci
def test_the_models_of_our_contenders_are_made_and_run(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path, TINY)
    said: list[str] = []
    made = ["checkpoint", "exported", "traced", "documented"]
    folders = {what: make(work, "context", what, said.append) for what in made}
    assert said == [f"context: make {what} in {tmp_path}" for what in made]
    for backend in ("onnxruntime", "openvino"):
        model = DPRContextEncoder.from_pretrained(folders["exported"], backend=backend, precision="int8")
        with model:
            assert np.isfinite(model.encode(["paris is a city"])).all()
    assert make(work, "context", "exported", said.append) == folders["exported"]
    assert len(said) == len(made)
