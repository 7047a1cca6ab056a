"""What optimum exports with our configurations is what we export, and what PyTorch computes.

optimum-onnx does not go with the transformers that the other tests run on: it is installed into an environment of its
own, with the README's command, and `exports.py` runs there. The graphs that it writes are compared here.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dpr_export.exporter import ExportOptions, export
from dpr_export.exporter.checkpoint.load import load
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.options import DEFAULT_OPSET
from dpr_export.exporter.tracing.reference_outputs import run_pytorch
from dpr_export.exporter.tracing.trace import AXES
from dpr_export.models.artifact.reference_outputs import ATOL, Arrays
from tests.conftest import write_checkpoint
from tests.test_documents import COMMANDS, OPTIMUM

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parent.parent.parent
LARGEST = 1e-5  # five times what was measured, and a tenth of what dpr-export allows
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "question": {"kind": "question", "seed": 1},
    "context": {"kind": "context", "seed": 2},
    "reader": {"kind": "reader", "seed": 3},
    # fewer positions than optimum's dummy inputs have tokens, fewer token types, and a projection
    "narrow": {"kind": "context", "max_position_embeddings": 9, "type_vocab_size": 1, "projection_dim": 24},
}
HUB_NAMES = {
    "facebook/dpr-ctx_encoder-single-nq-base": "context",
    "facebook/dpr-reader-single-nq-base": "reader",
}
DOCTEST = """
import doctest, importlib
result = doctest.testmod(importlib.import_module("dpr_export.exporter.optimum"))
assert result.attempted > 10 and not result.failed
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Exports:
    """What was exported, from the folders in `checkpoints`: by us, and by `exports.py`, which said and logged this."""

    checkpoints: Path
    ours: Path
    optimums: Path
    said: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A function that runs Python in a folder, where the README's command installed optimum: `run(folder, "-c", CODE)`.

    Skips where a package cannot be had.
    """
    environment = tmp_path_factory.mktemp("optimum") / "venv"
    python = environment / "bin" / "python"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"HF_HUB_OFFLINE": "1", "PIP_NO_COMPILE": "1"}

    def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
        )

    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    (install,) = (command for command in COMMANDS if "[optimum]" in command)
    done = run(ROOT, "-m", *shlex.split(install))
    for line in done.stderr.splitlines():
        if "No matching distribution found" in line:
            pytest.skip(f"optimum cannot be installed: {line.strip()}")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def exports(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    folder = tmp_path_factory.mktemp("exports")
    for name, options in CHECKPOINTS.items():
        source = write_checkpoint(folder / "checkpoints" / name, **options)
        export(str(source), folder / "ours" / name, ExportOptions(backends=["onnxruntime"]))
    done = run(folder, Path(__file__).with_name("exports.py"), "checkpoints", "optimums")
    assert done.returncode == 0, done.stderr
    said = json.loads((folder / "optimums" / "said.json").read_text(encoding="utf-8"))
    return Exports(folder / "checkpoints", folder / "ours", folder / "optimums", said, done.stderr)


def computed(graph: Path, feeds: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_graph_equals_ours_and_pytorch_at_every_size(exports: Exports, name: str) -> None:
    with resolve_checkpoint(str(exports.checkpoints / name)) as checkpoint:
        original = load(checkpoint)
    for example in run_pytorch(original):
        ours = computed(exports.ours / name / "onnx" / "model.onnx", example.feeds)
        optimums = computed(exports.optimums / "from_model" / name / "model.onnx", example.feeds)
        for output, reference in example.reference.items():
            assert optimums[output].shape == reference.shape
            np.testing.assert_allclose(optimums[output], reference, rtol=0, atol=LARGEST, err_msg=output)
            np.testing.assert_allclose(optimums[output], ours[output], rtol=0, atol=LARGEST, err_msg=output)


def signature(graph: Path) -> list[tuple[str, int, list[str | int]]]:
    """The name, type and axes of each input and output, in order; and the operators' version."""
    model = onnx.load(graph, load_external_data=False)
    values = [*model.graph.input, *model.graph.output]
    types = [value.type.tensor_type for value in values]
    axes = [[axis.dim_param or axis.dim_value for axis in type_.shape.dim] for type_ in types]
    opset = [(set_.domain, set_.version, []) for set_ in model.opset_import]
    return [(v.name, t.elem_type, a) for v, t, a in zip(values, types, axes, strict=True)] + opset


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_graph_has_our_names_types_axes_and_opset(exports: Exports, name: str) -> None:
    ours = signature(exports.ours / name / "onnx" / "model.onnx")
    assert signature(exports.optimums / "from_model" / name / "model.onnx") == ours
    assert ours[0] == ("input_ids", onnx.TensorProto.INT64, ["batch_size", "sequence_length"])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_configuration_names_the_axes_of_our_graph_that_have_any_size(exports: Exports, name: str) -> None:
    *values, _opset = signature(exports.ours / name / "onnx" / "model.onnx")
    dynamic = {value: {str(i): axis for i, axis in enumerate(axes) if axis in AXES} for value, _, axes in values}
    assert exports.said[f"axes {name}"] == dynamic


@pytest.mark.parametrize("way", ["alone", "by_name", "registered"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_way_that_optimum_has_writes_the_same_graph(exports: Exports, name: str, way: str) -> None:
    written = (exports.optimums / way / name / "model.onnx").read_bytes()
    assert written == (exports.optimums / "from_model" / name / "model.onnx").read_bytes()


def test_optimum_compares_with_our_bound_and_finds_nothing_to_warn_of(exports: Exports) -> None:
    assert exports.said["atol"] == ATOL
    assert exports.said["opset"] == DEFAULT_OPSET
    assert "with the warning" not in exports.log


@pytest.mark.parametrize("call", ["main_export", "onnx_configs"])
def test_the_random_weights_that_automodel_makes_are_refused(exports: Exports, call: str) -> None:
    assert exports.said[f"{call} question"] is None
    for name, architecture in {"context": "DPRContextEncoder", "reader": "DPRReader"}.items():
        assert exports.said[f"{call} {name}"] == (
            f"ValueError: the model is a DPRQuestionEncoder, and its configuration a {architecture}'s, so its weights "
            f"are random: give onnx_export_from_model what transformers.{architecture}.from_pretrained loads"
        )
        assert not (exports.optimums / "automodel" / name / "model.onnx").exists()


def test_another_model_is_refused(exports: Exports) -> None:
    assert exports.said["onnx_configs BertModel"] == (
        "ValueError: architectures in config.json is ['BertModel'], and must name exactly one of "
        "DPRQuestionEncoder, DPRContextEncoder, DPRReader"
    )


@pytest.fixture
def hub(exports: Exports, tmp_path: Path) -> Path:
    """A folder with checkpoints of the names that the examples have from the hub."""
    for name, checkpoint in HUB_NAMES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(exports.checkpoints / checkpoint)
    return tmp_path


def test_the_examples_in_the_docstrings_run(run: Run, hub: Path) -> None:
    done = run(hub, "-c", DOCTEST)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readmes_example_runs(run: Run, hub: Path) -> None:
    (code,) = OPTIMUM
    done = run(hub, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensor([[")


@pytest.mark.parametrize("missing", ["optimum", "transformers"])
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import dpr_export.exporter.optimum"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    line = rf'ImportError: {missing}[\w.]* is not installed: pip install "dpr-export\[optimum\]"'
    assert re.fullmatch(line, done.stderr.splitlines()[-1]), done.stderr
