"""Real engines, built without a GPU: TensorRT-RTX parses and builds our graphs for a named compute capability.

What it says of the network, and of the profiles, is read back and compared with the table. It deserializes engines
only where a GPU is: that, and what they compute, is tested in `tests/gpu`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from dpr_export.exporter import export
from dpr_export.models.artifact.variants import MODEL_FILE, VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.quantization.gate import tokenize_each
from dpr_export.quantization.recipes import RECIPES
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, read_texts
from dpr_export.runtime.checks.build_engine import build_engine
from dpr_export.runtime.engines.nvidia.engine_files import read_engine, read_record
from dpr_export.runtime.engines.nvidia.shape_buckets import Bucket, buckets_for
from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
pytestmark = pytest.mark.ci

CAPABILITY = "8.9"
OUTPUTS = {
    "question": {"pooler_output": (None, "dim")},
    "context": {"pooler_output": (None, "dim")},
    "reader": {"start_logits": (None, None), "end_logits": (None, None), "relevance_logits": (None,)},
}
ROWS = [spec for spec in VARIANTS if spec.backend == "tensorrt"]


@pytest.fixture(scope="module")
def graphs(demo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Path, Path]]:
    """A function that gives the demo model's folder and its graph at a precision; INT8 calibrated on a few texts."""

    def make(kind: str, precision: str) -> tuple[Path, Path]:
        return demo[kind], graph_of(demo[kind], kind, precision, tmp_path_factory.mktemp("graph"))

    return make


def graph_of(folder: Path, kind: str, precision: str, output: Path) -> Path:
    (spec,) = (spec for spec in ROWS if spec.precision == precision)
    if spec.recipe is None:
        return folder / MODEL_FILE
    calls = tokenize_each(KINDS[kind], folder, read_texts(CALIBRATION_SET_FILE).rows[:24])
    next(RECIPES[spec.recipe](folder / MODEL_FILE, output / Path(spec.file).name, calls))
    return output / Path(spec.file).name


class Seen(TensorRt):
    """Reads back what the library says of the network and of the profiles."""

    def _parse(self, network: Any, graph: Path) -> None:
        super()._parse(network, graph)
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        self.types = {tensor.name: tensor.dtype.name for tensor in (*inputs, *outputs)}
        self.profiles: list[dict[str, tuple[tuple[int, ...], ...]]] = []

    def _profile(self, builder: Any, bucket: Bucket, inputs: list[Any]) -> Any:
        profile = super()._profile(builder, bucket, inputs)
        self.profiles.append({tensor.name: tuple(map(tuple, profile.get_shape(tensor.name))) for tensor in inputs})
        return profile


def check(folder: Path, kind: str, graph: Path) -> None:
    """Build for all profiles, and compare what the library says with the table."""
    config = DPRConfig.from_pretrained(folder)
    buckets = buckets_for(kind, config.max_position_embeddings)
    library = Seen()
    built = library.build(graph, buckets, compute_capability=CAPABILITY)
    dim = config.dim if kind != "reader" else None
    assert built.inputs == tuple(KINDS[kind].inputs)
    assert built.outputs == {
        name: tuple(dim if size == "dim" else size for size in shape) for name, shape in OUTPUTS[kind].items()
    }
    assert library.types == dict.fromkeys(KINDS[kind].inputs, "INT64") | dict.fromkeys(OUTPUTS[kind], "FLOAT")
    lengths = [32, 64, 128, 256, 512]
    usual = {"question": 1, "context": 32, "reader": 16}[kind]
    assert library.profiles == [
        dict.fromkeys(KINDS[kind].inputs, ((1, length), (usual, length), (16_384 // length, length)))
        for length in lengths
    ]
    assert built.timings is None
    assert len(built.engine) > 0.2 * graph.stat().st_size  # the weights are in it


@pytest.mark.parametrize("precision", [spec.precision for spec in ROWS])
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_engine_of_the_demo_model_is_built_with_every_profile(
    graphs: Callable[[str, str], tuple[Path, Path]], kind: str, precision: str
) -> None:
    folder, graph = graphs(kind, precision)
    check(folder, kind, graph)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_engine_of_the_base_model_is_built_with_every_profile(
    checkpoint: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """BERT-base, as DPR was published: three engines of a kind."""
    base = {
        "vocab_size": 30_522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "initializer_range": 0.02,
    }
    export(str(checkpoint(kind, **base)), tmp_path / "base")
    for spec in ROWS:
        check(tmp_path / "base", kind, graph_of(tmp_path / "base", kind, spec.precision, tmp_path))


@pytest.mark.parametrize("file", ["onnx/model_ort_fp16.onnx", "onnx/model_ort_int8.onnx"])
def test_a_graph_that_it_refuses_is_one_line_with_the_operator(tiny_variants: dict[str, Path], file: str) -> None:
    graph = tiny_variants["reader"] / file
    with pytest.raises(RuntimeError, match=rf"^tensorrt_rtx refuses {graph}: operator \w+ at ") as raised:
        TensorRt().build(graph, buckets_for("reader", 512), compute_capability=CAPABILITY)
    assert "\n" not in str(raised.value)


def test_what_is_no_graph_of_this_project_is_refused(tiny: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(tiny["question"] / MODEL_FILE)
    for value in model.graph.input:
        value.type.tensor_type.elem_type = onnx.TensorProto.INT32
    onnx.save(model, tmp_path / "int32.onnx")
    with pytest.raises(RuntimeError, match=r"tensorrt_rtx refuses|is not int64"):
        TensorRt().build(tmp_path / "int32.onnx", buckets_for("question", 512), compute_capability=CAPABILITY)
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(RuntimeError, match="tensorrt_rtx refuses"):
        TensorRt().build(tmp_path / "text.onnx", buckets_for("question", 512), compute_capability=CAPABILITY)


@pytest.mark.parametrize("capability", ["9.9", "sm_89", "8"])
def test_a_compute_capability_that_it_does_not_know_is_refused_with_those_it_does(
    tiny_variants: dict[str, Path], capability: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"^compute_capability is '{capability}', and must be one of: 7.5, 8.0, 8.6, 8.9"
    ):
        build_engine(tiny_variants["question"], compute_capability=capability)


class Counting:
    """Watches a build, and stops it after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left, self.open, self.seen = steps, [], set()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        assert steps > 0
        assert parent is None or parent in self.open
        self.open.append(phase)
        self.seen.add(phase)

    def step(self, phase: str, done: int) -> None:
        assert phase in self.open
        assert done >= 1
        self.left -= 1

    def finish(self, phase: str) -> None:
        self.open.remove(phase)

    def stopped(self) -> bool:
        return self.left <= 0


def test_a_build_is_watched_and_can_be_stopped(tiny_variants: dict[str, Path]) -> None:
    graph, buckets = tiny_variants["question"] / "onnx/model_fp16.onnx", buckets_for("question", 512)
    watch = Counting(10**9)
    TensorRt().build(graph, buckets, compute_capability=CAPABILITY, watch=watch)
    assert len(watch.seen) > 3
    assert watch.open == []
    assert 10**9 - watch.left > 20
    with pytest.raises(KeyboardInterrupt):
        TensorRt().build(graph, buckets, compute_capability=CAPABILITY, watch=Counting(5))


@pytest.mark.usefixtures("cache_home")
def test_an_engine_for_another_gpu_is_kept_with_what_it_was_built_from(
    tiny_variants: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_variants["reader"], folder)
    engine = build_engine(folder, compute_capability=CAPABILITY)
    manifest = json.loads((folder / "manifest.json").read_text())
    record = read_record(engine.path)
    assert record == engine.record
    assert record.key.graph == manifest["files"]["onnx/model_fp16.onnx"]["sha256"]
    assert (record.key.library, record.key.compute_capability, record.key.driver) == ("tensorrt_rtx", CAPABILITY, None)
    assert record.inputs == ("input_ids", "attention_mask")
    assert record.outputs == OUTPUTS["reader"]
    assert record.verified is None
    assert len(read_engine(engine.path, record)) == record.bytes
    assert build_engine(folder, compute_capability=CAPABILITY).seconds is None
    assert build_engine(folder, compute_capability=CAPABILITY, lengths=[100]).record.key.buckets[0].length == 100
    again = build_engine(folder, compute_capability=CAPABILITY, force=True)
    assert again.seconds
    assert again.record.key == record.key
