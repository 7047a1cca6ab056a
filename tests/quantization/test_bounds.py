"""A variant below a bound is not written, or marked so; and a recipe's later settings are tried before that."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.variants import BOUNDS, MODEL_FILE, metrics_below_bound
from dpr_export.quantization import QuantizationError, VariantOptions, add_variants
from dpr_export.quantization.recipes import RECIPES, Attempt
from dpr_export.runtime import DPRQuestionEncoder, DPRReader
from dpr_export.runtime.engines.session import Feeds, open_session
from dpr_export.runtime.inference.selection import choose

FILE = "onnx/model_ort_int8.onnx"
ASKED = {"precisions": ["int8"], "backends": ["onnxruntime"]}


def spoil(source: Path, output: Path, noise: float) -> None:
    """Copy a graph with noise in every matrix, `noise` times as large as its entries; NaN makes all of it NaN."""
    generator = np.random.default_rng(0)
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 2 and values.dtype == np.float32:
            added = generator.normal(0, 1, values.shape) * values.std() * noise
            tensor.CopyFrom(numpy_helper.from_array((values + added).astype(np.float32), tensor.name))
    onnx.save(model, output)


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """A function that makes the recipe of ONNX Runtime's INT8 try these amounts of noise; returns what it tried."""

    def use(*amounts: float) -> list[float]:
        tried = []

        def noisy(source: Path, output: Path, _: Sequence[Feeds]) -> Iterator[Attempt]:
            for noise in amounts:
                spoil(source, output, noise)
                tried.append(noise)
                yield Attempt(f"noise {noise}", has_more=len(tried) < len(amounts))

        monkeypatch.setitem(RECIPES, "dynamic_int8", noisy)
        return tried

    return use


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lossy_of(folder: Path) -> Variant:
    (variant,) = (
        variant for variant in ExportedFolder.open(folder, verify=True).manifest.variants if variant.accuracy_drop
    )
    return variant


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("kind", "metrics"),
    [
        ("question", ("mean_cosine", "least_cosine")),
        ("context", ("mean_cosine", "least_cosine")),
        ("reader", ("same_passage", "same_span")),
    ],
)
def test_a_variant_below_its_bounds_is_refused_with_each_figure_and_bound_and_nothing_is_written(
    plain: Callable[..., Path], recipe: Callable[..., list[float]], kind: str, metrics: tuple[str, ...]
) -> None:
    recipe(2.0)
    folder = plain(kind)
    before = files(folder)
    with pytest.raises(QuantizationError) as raised:
        add_variants(folder, VariantOptions(**ASKED))
    message = str(raised.value)
    assert re.fullmatch(
        r"onnx/model_ort_int8\.onnx is not accurate enough: (\w+ is -?0\.\d{3} and must be at least 0\.\d\d(, )?)+; "
        r"allow_loss \(--allow-loss\) writes it all the same",
        message,
    )
    found = re.findall(r"(\w+) is (-?0\.\d+) and must be at least (0\.\d\d)", message)
    assert tuple(name for name, _, _ in found) == metrics
    assert all(float(value) < float(bound) == BOUNDS[name] for name, value, bound in found)
    assert files(folder) == before


@pytest.mark.usefixtures("quick")
def test_what_is_allowed_to_lose_is_written_and_run_only_where_its_precision_is_named(
    plain: Callable[..., Path], recipe: Callable[..., list[float]]
) -> None:
    recipe(2.0)
    folder = plain()
    made = add_variants(folder, VariantOptions(allow_loss=True, **ASKED))
    variant = lossy_of(folder)
    assert made.variants[-1] == variant
    assert variant.accuracy_drop.below_bound == ("mean_cosine", "least_cosine")
    assert variant.accuracy_drop.metrics["mean_cosine"] < 0.9
    assert not variant.verified
    opened = ExportedFolder.open(folder)
    assert choose(opened).variant.precision == "fp32"
    assert choose(opened, backend="onnxruntime").variant.file == MODEL_FILE
    with DPRQuestionEncoder.from_pretrained(folder, backend="onnxruntime") as model:
        lines = model.explain().splitlines()
        exact = model.encode(["who wrote hamlet ?"])
    assert any(
        "passed over: onnxruntime int8 on cpu: its metrics are below their bounds (mean_cosine, least_cosine): "
        "name its precision to run it" in line
        for line in lines
    )
    with DPRQuestionEncoder.from_pretrained(folder, precision="int8") as model:
        assert FILE in model.explain()
        assert "passed over" not in model.explain()
        assert np.abs(model.encode(["who wrote hamlet ?"]) - exact).max() > 0.1


@pytest.mark.usefixtures("quick")
def test_a_reader_that_misses_is_marked_too(plain: Callable[..., Path], recipe: Callable[..., list[float]]) -> None:
    recipe(2.0)
    folder = plain("reader")
    add_variants(folder, VariantOptions(allow_loss=True, **ASKED))
    assert lossy_of(folder).accuracy_drop.below_bound == ("same_passage", "same_span")
    with DPRReader.from_pretrained(folder) as reader:
        assert MODEL_FILE in reader.explain()


@pytest.mark.usefixtures("quick")
def test_later_settings_are_used_where_the_first_miss_and_no_more_are_tried_than_needed(
    plain: Callable[..., Path], recipe: Callable[..., list[float]], tmp_path: Path
) -> None:
    tried = recipe(2.0, 1.0, 0.001, 0.0)
    folder = plain()
    add_variants(folder, VariantOptions(**ASKED))
    assert tried == [2.0, 1.0, 0.001]
    variant = lossy_of(folder)
    assert variant.accuracy_drop.settings == "noise 0.001"
    assert (variant.verified, variant.accuracy_drop.below_bound) == (True, ())
    assert variant.accuracy_drop.metrics["mean_cosine"] > 0.999
    spoil(folder / MODEL_FILE, tmp_path / "expected.onnx", 0.001)
    assert hash_file(folder / FILE).sha256 == hash_file(tmp_path / "expected.onnx").sha256
    assert choose(ExportedFolder.open(folder)).variant == variant


@pytest.mark.usefixtures("quick")
def test_of_settings_that_all_miss_the_best_is_kept(
    plain: Callable[..., Path], recipe: Callable[..., list[float]], tmp_path: Path
) -> None:
    tried = recipe(4.0, 0.7, 2.0)
    folder = plain()
    add_variants(folder, VariantOptions(allow_loss=True, **ASKED))
    assert tried == [4.0, 0.7, 2.0]
    variant = lossy_of(folder)
    assert variant.accuracy_drop.settings == "noise 0.7"
    assert variant.accuracy_drop.below_bound
    spoil(folder / MODEL_FILE, tmp_path / "expected.onnx", 0.7)
    assert hash_file(folder / FILE).sha256 == hash_file(tmp_path / "expected.onnx").sha256


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of the numbers that are not
def test_settings_that_give_no_numbers_are_worse_than_any_others(
    plain: Callable[..., Path], recipe: Callable[..., list[float]]
) -> None:
    tried = recipe(float("nan"), 0.001)
    folder = plain()
    add_variants(folder, VariantOptions(**ASKED))
    assert len(tried) == 2
    assert lossy_of(folder).accuracy_drop.settings == "noise 0.001"


def damaged_mask(source: Path, output: Path, _: Sequence[Feeds]) -> Iterator[Attempt]:
    """Make a masked score -inf: good on every text, and NaN where a row is all masked."""
    model = onnx.load(source)
    least = float(np.finfo(np.float32).min)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size == 1 and values.item() == least:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, -3e38), tensor.name))
    mask = next(node for node in model.graph.node if node.op_type == "Mul" and "attention" not in node.name)
    doubled = onnx.helper.make_node("Add", ["half", "half"], list(mask.output), name="doubled")
    mask.output[0] = "half"
    model.graph.node.insert(list(model.graph.node).index(mask) + 1, doubled)
    onnx.save(model, output)
    yield Attempt("a mask of -inf")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("allow_loss", [False, True])
def test_a_graph_that_gives_no_numbers_where_all_is_masked_is_refused_whatever_is_allowed(
    plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, allow_loss: bool
) -> None:
    monkeypatch.setitem(RECIPES, "dynamic_int8", damaged_mask)
    folder = plain()
    before = files(folder)
    with pytest.raises(
        QuantizationError,
        match=r"onnx/model_ort_int8\.onnx gives numbers that are not finite: .* at 3 x 7 ",
    ):
        add_variants(folder, VariantOptions(allow_loss=allow_loss, **ASKED))
    assert files(folder) == before


@pytest.mark.usefixtures("quick")
def test_texts_that_are_judged_are_others_than_those_that_are_calibrated_with(
    plain: Callable[..., Path], few: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Feeds] = []

    def recipe(source: Path, output: Path, calls: Sequence[Feeds]) -> Iterator[Attempt]:
        seen.extend(calls)
        spoil(source, output, 0.001)
        yield Attempt()

    monkeypatch.setitem(RECIPES, "dynamic_int8", recipe)
    folder = plain()
    add_variants(folder, VariantOptions(calibration=few["calibration"], **ASKED))
    loss = lossy_of(folder).accuracy_drop
    assert loss.calibration_set_sha256 == hash_file(few["calibration"]).sha256
    assert loss.evaluation_set_sha256 == hash_file(few["judging"]).sha256
    assert len(seen) == len(few["calibration"].read_text().splitlines())
    assert all(call["attention_mask"].all() for call in seen)


def test_a_bound_is_kept_where_it_is_met_and_missed_where_there_is_no_number() -> None:
    assert metrics_below_bound({"mean_cosine": 0.99, "top1": 0.0}) == []
    assert metrics_below_bound({"mean_cosine": float("nan"), "least_cosine": 0.96999}) == [
        "mean_cosine",
        "least_cosine",
    ]


def test_a_graph_is_compared_on_the_engine_that_it_is_for(tiny_variants: dict[str, Path]) -> None:
    for folder in tiny_variants.values():
        for variant in ExportedFolder.open(folder).manifest.variants:
            shown = variant.parity or variant.accuracy_drop
            engine = variant.backend if variant.backend != "tensorrt" else "onnxruntime"
            session = open_session(engine, folder / variant.file, threads=1, cache=False)
            assert shown.engine == session.engine
            session.close()
