"""Which variant is run: by the table's order, by what is installed and verified, by what was asked for; and why."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import (
    REQUIRED_FILES,
    AccuracyDrop,
    FileRecord,
    Manifest,
    ParityResult,
    Source,
    Variant,
)
from dpr_export.models.artifact.variants import MODEL_FILE, PRECISIONS, VARIANTS, VariantSpec, select_specs
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.engines.processors import SLOW_INT8
from dpr_export.runtime.engines.session import ENGINES, SESSION_CLASSES
from dpr_export.runtime.inference import selection
from dpr_export.runtime.inference.selection import choose

SHAPES = ((1, 1),)
ORDER = [(spec.backend, spec.precision, spec.file) for spec in VARIANTS if spec.devices[0] == "cpu"]


def variant(spec: VariantSpec, *, below_bound: tuple[str, ...] = (), verified: bool | None = None) -> Variant:
    """A row of the table as a manifest has it."""
    if verified is None:
        verified = "cpu" in spec.devices and not below_bound
    if not spec.lossy:
        return Variant(
            spec.backend, spec.precision, spec.file, ParityResult("engine 1", SHAPES, 1e-4, 1e-6, 0.01), None, verified
        )
    loss = AccuracyDrop(
        "engine 1", SHAPES, 0.1, 0.98, 0.97, {"mean_cosine": 0.995}, below_bound, "a" * 64, "b" * 64, ""
    )
    return Variant(spec.backend, spec.precision, spec.file, None, loss, verified)


def folder(*variants: Variant) -> ExportedFolder:
    files = {name: FileRecord(3, "a" * 64) for name in (*REQUIRED_FILES, *(each.file for each in variants))}
    return ExportedFolder(Path("folder"), Manifest("question", Source("x", None, "c" * 64), {}, 18, variants, files))


def row(backend: str, precision: str, file: str | None = None) -> VariantSpec:
    return next(
        spec
        for spec in VARIANTS
        if (spec.backend, spec.precision) == (backend, precision) and file in (None, spec.file)
    )


WHOLE = folder(*map(variant, VARIANTS))


def picked(found: ExportedFolder, **options: str) -> tuple[str, str, str]:
    choice = choose(found, **options)
    return choice.variant.backend, choice.variant.precision, choice.variant.file


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is picked must not depend on the machine; tests of GPUs say that there is one."""
    monkeypatch.setattr(selection, "gpu_problem", lambda _: "no GPU in this test")
    monkeypatch.setattr("dpr_export.runtime.inference.verdicts.compute_capability", lambda _: "9.0")
    monkeypatch.setattr(selection, "processor_kind", lambda: "x86 with VNNI")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says which engines are installed."""

    def only(*engines: str) -> None:
        monkeypatch.setattr(selection, "find_spec", lambda name: SimpleNamespace() if name in engines else None)

    return only


def test_by_itself_the_order_is_int8_before_fp32_and_openvino_before_onnxruntime() -> None:
    assert ORDER == [
        ("openvino", "int8", "onnx/model_int8.onnx"),
        ("onnxruntime", "int8", "onnx/model_ort_int8.onnx"),
        ("openvino", "fp32", MODEL_FILE),
        ("onnxruntime", "fp32", "onnx/model_ort.onnx"),
        ("onnxruntime", "fp32", MODEL_FILE),
    ]
    specs = [row(*each) for each in ORDER]
    for first in range(len(specs)):
        assert picked(folder(*map(variant, reversed(specs[first:])))) == ORDER[first]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"backend": "onnxruntime"}, ORDER[1]),
        ({"backend": "openvino"}, ORDER[0]),
        ({"precision": "int8"}, ORDER[0]),
        ({"precision": "fp32"}, ORDER[2]),
        ({"backend": "onnxruntime", "precision": "fp32"}, ORDER[3]),
        ({"backend": "openvino", "precision": "fp32"}, ORDER[2]),
        ({"backend": "onnxruntime", "precision": "int8"}, ORDER[1]),
        ({"precision": "fp16"}, ("onnxruntime", "fp16", "onnx/model_ort_fp16.onnx")),
        ({"backend": "onnxruntime", "precision": "fp16"}, ("onnxruntime", "fp16", "onnx/model_ort_fp16.onnx")),
        ({"precision": "bf16"}, ORDER[2]),
        ({"backend": "openvino", "precision": "bf16"}, ORDER[2]),
    ],
)
def test_what_is_named_is_run(options: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert picked(WHOLE, **options) == expected
    assert choose(WHOLE, **options).precision == options.get("precision", expected[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "torch"}, "backend is 'torch', and must be one of: auto, onnxruntime, openvino, tensorrt"),
        ({"backend": ""}, "backend is '', and must be one of"),
        ({"precision": "fp8"}, "precision is 'fp8', and must be one of: auto, fp32, fp16, int8, bf16"),
        ({"precision": "INT8"}, "precision is 'INT8', and must be one of"),
        (
            {"backend": "onnxruntime", "precision": "bf16"},
            "precision 'bf16' requires backend 'openvino'",
        ),
        (
            {"backend": "openvino", "precision": "fp16"},
            "folder holds no variant with backend=openvino, precision=fp16; it holds tensorrt fp16, tensorrt int8, "
            "onnxruntime fp16, tensorrt fp32, openvino int8, onnxruntime int8, openvino fp32, onnxruntime fp32",
        ),
        ({"device": "cuda:x"}, "device is 'cuda:x', and must be one of: cpu, cuda, cuda:0, cuda:1, ..."),
        ({"device": "tpu"}, "device is 'tpu', and must be one of: cpu, cuda"),
        ({"backend": "openvino", "device": "cuda"}, "device is 'cuda', and the openvino backend runs on cpu only"),
        ({"backend": "tensorrt", "device": "cpu"}, "device is 'cpu', and the tensorrt backend runs on cuda only"),
        (
            {"device": "cuda", "precision": "bf16"},
            "folder holds no variant with backend=auto, precision=bf16, device=cuda; it holds",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_there_is(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (compared whole)
        choose(WHOLE, **options)
    assert str(raised.value).startswith(message)


def test_a_precision_that_the_folder_does_not_hold_is_refused() -> None:
    plain = folder(variant(row("onnxruntime", "fp32", MODEL_FILE)))
    for precision in ("int8", "fp16", "bf16"):
        made = "fp32 --backend openvino" if precision == "bf16" else precision
        message = rf"precision={precision}; it holds onnxruntime fp32: dpr-export folder --precision {made}.* makes it$"
        with pytest.raises(ValueError, match=message):
            choose(plain, precision=precision)
    with pytest.raises(ValueError, match=r"backend=openvino, precision=auto; it holds onnxruntime fp32$"):
        choose(plain, backend="openvino")


def test_an_engine_that_is_not_installed_is_passed_over(installed: Callable[..., None]) -> None:
    installed("onnxruntime")
    assert picked(WHOLE) == ORDER[1]
    assert "passed over: openvino int8 on cpu: openvino is not installed" in choose(WHOLE).reason
    assert picked(WHOLE, precision="fp32") == ORDER[3]
    installed("openvino")
    assert picked(WHOLE) == ORDER[0]
    assert picked(WHOLE, precision="fp32") == ORDER[2]


@pytest.mark.parametrize(
    ("engines", "options", "message"),
    [
        (
            ["onnxruntime"],
            {"backend": "openvino"},
            r"openvino is not installed: pip install \"dpr-export\[openvino\]\"",
        ),
        (["openvino"], {"backend": "onnxruntime"}, r"onnxruntime is not installed: pip install \"dpr-export\[cpu\]\""),
        (["onnxruntime"], {"precision": "bf16"}, r"openvino is not installed: pip install \"dpr-export\[openvino\]\""),
        (["openvino"], {"precision": "fp16"}, r"onnxruntime is not installed: pip install \"dpr-export\[cpu\]\""),
        ([], {}, r"onnxruntime is not installed: pip install \"dpr-export\[cpu\]\""),
    ],
)
def test_without_an_engine_for_what_was_asked_the_error_says_what_to_install(
    installed: Callable[..., None], engines: list[str], options: dict[str, str], message: str
) -> None:
    installed(*engines)
    with pytest.raises(ImportError, match=message):
        choose(WHOLE, **options)


def test_what_missed_a_bound_is_passed_over_unless_its_precision_is_named() -> None:
    poor = folder(
        variant(row("openvino", "int8"), below_bound=("mean_cosine", "least_cosine")), variant(row("openvino", "fp32"))
    )
    choice = choose(poor)
    assert choice.variant.precision == "fp32"
    assert choice.reason.splitlines()[1:] == [
        "passed over: openvino int8 on cpu: its metrics are below their bounds "
        "(mean_cosine, least_cosine): name its precision to run it"
    ]
    assert picked(poor, backend="openvino")[1] == "fp32"
    assert picked(poor, precision="int8")[1] == "int8"
    assert "passed over" not in choose(poor, precision="int8").reason


def test_what_was_not_shown_on_its_engine_is_passed_over_unless_its_precision_is_named() -> None:
    unverified = folder(variant(row("openvino", "int8"), verified=False), variant(row("onnxruntime", "int8")))
    choice = choose(unverified)
    assert choice.variant.backend == "onnxruntime"
    assert "passed over: openvino int8 on cpu: not verified on its engine: name its precision" in choice.reason
    assert picked(unverified, precision="int8")[0] == "openvino"
    assert picked(unverified, backend="openvino", precision="int8")[0] == "openvino"


@pytest.mark.parametrize("verified", [False, True])
def test_what_is_made_for_a_gpu_is_not_picked_by_itself_without_one(verified: bool) -> None:
    only = folder(variant(row("onnxruntime", "fp16"), verified=verified))
    with pytest.raises(ValueError, match=r"holds no variant that can run as requested: cuda: no GPU in this test"):
        choose(only)
    assert picked(only, precision="fp16")[1] == "fp16"
    assert choose(only, precision="fp16").device == "cpu"


TENSORRT, FUSED = ("tensorrt", "fp16", "onnx/model_fp16.onnx"), ("onnxruntime", "fp16", "onnx/model_ort_fp16.onnx")


@pytest.mark.parametrize(
    ("options", "problems", "expected"),
    [
        ({}, {}, TENSORRT),
        ({}, {"tensorrt": "no engine"}, FUSED),
        ({}, {"tensorrt": "no engine", "onnxruntime": "no cuDNN"}, ORDER[0]),
        ({"precision": "int8"}, {}, ("tensorrt", "int8", "onnx/model_trt_int8.onnx")),
        ({"precision": "int8"}, {"tensorrt": "no engine"}, ORDER[0]),
        ({"precision": "fp32"}, {"tensorrt": "no engine"}, ORDER[4]),
        ({"backend": "onnxruntime"}, {}, FUSED),
        ({"backend": "openvino"}, {}, ORDER[0]),
        ({"backend": "tensorrt", "precision": "int8"}, {"tensorrt": "no engine"}, ("tensorrt", "int8")),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_with_a_gpu_what_runs_there_comes_first(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    options: dict[str, str],
    problems: dict[str, str],
    expected: tuple[str, ...],
) -> None:
    """Tests the order; that the engines' own problems are told truly is tested with each engine."""
    monkeypatch.setattr(selection, "is_installed", lambda _: True)
    monkeypatch.setattr(selection, "gpu_problem", lambda _: None)
    monkeypatch.setattr(selection, "_find_gpu_problem", lambda backend, *_: problems.get(backend))
    verified = folder(*(variant(spec, verified=True) for spec in VARIANTS))
    on_cpu = expected in ORDER[:4]
    if device != "auto" and on_cpu:
        with pytest.raises(ValueError, match=r"can run as requested: .*: no |, and the openvino backend runs on cpu"):
            choose(verified, device=device, **options)
        return
    choice = choose(verified, device=device, **options)
    assert picked(verified, device=device, **options)[: len(expected)] == expected
    assert choice.device == ("cpu" if on_cpu else {"auto": "cuda:0", "cuda": "cuda:0"}.get(device, device))
    told = [f"{backend} fp16 on cuda: {problem}" for backend, problem in problems.items()] if not options else []
    assert all(f"passed over: {each}" in choice.reason for each in told)


def test_a_gpu_that_is_named_also_runs_what_was_judged_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "gpu_problem", lambda _: None)
    monkeypatch.setattr(selection, "_find_gpu_problem", lambda *_: None)
    unverified = folder(variant(row("onnxruntime", "fp16"), verified=False), variant(row("openvino", "fp32")))
    assert picked(unverified, device="cuda") == FUSED
    assert picked(unverified)[0] == "openvino"
    assert "onnxruntime fp16 on cuda: not verified on its engine" in choose(unverified).reason
    poor = folder(variant(row("onnxruntime", "fp16"), below_bound=("mean_cosine",)))
    with pytest.raises(ValueError, match="onnxruntime fp16 on cuda: its metrics are below their bounds"):
        choose(poor, device="cuda")
    assert picked(poor, device="cuda", precision="fp16") == FUSED


def test_a_device_that_is_named_is_never_left_for_another() -> None:
    with pytest.raises(RuntimeError, match=r"^device 'cuda:1' cannot be used: no GPU in this test$"):
        choose(WHOLE, device="cuda:1")
    assert choose(WHOLE, device="cpu").device == "cpu"


def test_the_reason_names_the_file_and_what_was_asked_for() -> None:
    first = choose(WHOLE, backend="onnxruntime", precision="fp32").reason.splitlines()[0]
    assert first == (
        "onnx/model_ort.onnx (onnxruntime fp32) on cpu, requested as backend=onnxruntime, precision=fp32, device=auto"
    )
    first = choose(WHOLE, backend="onnxruntime").reason.splitlines()[0]
    assert ", requested as backend=onnxruntime, precision=auto, device=auto: the first in order of preference" in first


@pytest.mark.parametrize(("products", "shown"), [(False, True), (True, False), (None, False)])
def test_int8_on_a_processor_without_its_products_comes_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, products: bool | None, shown: bool
) -> None:
    monkeypatch.setattr(selection, "int8_products", lambda: products)
    assert (SLOW_INT8 in choose(WHOLE).reason.splitlines()) is shown
    assert (SLOW_INT8 in choose(WHOLE, backend="onnxruntime", precision="int8").reason) is shown
    assert SLOW_INT8 not in choose(WHOLE, precision="fp32").reason
    assert SLOW_INT8 not in choose(WHOLE, precision="fp16").reason


@given(
    st.lists(st.tuples(st.sampled_from(VARIANTS), st.booleans(), st.booleans()), min_size=1, unique_by=lambda t: t[0]),
    st.sampled_from(["auto", *ENGINES]),
    st.sampled_from(["auto", *PRECISIONS]),
)
def test_whatever_a_folder_holds_what_is_picked_was_asked_for_and_is_sound(
    rows: list[tuple[VariantSpec, bool, bool]], backend: str, precision: str
) -> None:
    held = [
        variant(s, below_bound=("f1",) if s.lossy and m else (), verified=p and not (s.lossy and m)) for s, m, p in rows
    ]
    try:
        choice = choose(folder(*held), backend=backend, precision=precision)
    except ValueError as error:
        able = [v for v in held if backend in ("auto", v.backend) and precision in ("auto", v.precision)]
        able = [v for v in able if (v.backend, "cpu") in SESSION_CLASSES]
        if precision == "auto":
            able = [v for v in able if v.verified and v.precision != "fp16"]
        assert not able, error  # noqa: PT017
        return
    assert choice.variant in held
    assert backend in ("auto", choice.variant.backend)
    assert precision in ("auto", choice.variant.precision)
    assert precision != "auto" or choice.variant.verified


@pytest.mark.parametrize(
    ("precisions", "backends", "message"),
    [
        (["fp32", "int4"], ["openvino"], "precision is 'int4', and must be one of: fp32, fp16, int8"),
        (["fp32"], ["torch"], "backend is 'torch', and must be one of: onnxruntime, openvino, tensorrt"),
        (["fp16"], ["openvino"], "precision fp16 is made for tensorrt, onnxruntime, not for openvino"),
    ],
)
def test_what_no_row_of_the_table_makes_is_refused(precisions: list[str], backends: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_specs(precisions, backends)


def test_model_onnx_on_onnxruntime_is_always_made_and_first() -> None:
    for precisions in (["fp32"], ["int8"], ["fp16", "int8"]):
        specs = select_specs(precisions, ["onnxruntime", "openvino"])
        assert (specs[0].backend, specs[0].file) == ("onnxruntime", MODEL_FILE)
        assert len(set(specs)) == len(specs)
    assert {spec.file for spec in select_specs(["int8"], ["openvino"])} == {MODEL_FILE, "onnx/model_int8.onnx"}
    assert set(select_specs(PRECISIONS, ["onnxruntime", "openvino", "tensorrt"])) == set(VARIANTS)


def test_a_model_runs_what_was_chosen_and_explains_it(tiny_variants: dict[str, Path]) -> None:
    texts = ["who wrote hamlet ?", "the capital of france"]
    vectors = {}
    for backend, precision in (("auto", "fp32"), ("auto", "int8"), ("onnxruntime", "fp16"), ("onnxruntime", "int8")):
        with DPRQuestionEncoder.from_pretrained(
            tiny_variants["question"], backend=backend, precision=precision, verify=True
        ) as model:
            vectors[backend, precision] = model.encode(texts)
            expected = choose(ExportedFolder.open(tiny_variants["question"]), backend=backend, precision=precision)
            assert expected.variant.file in model.explain()
            assert expected.reason.splitlines()[0] in model.explain()
    exact = vectors["auto", "fp32"]
    for asked, found in vectors.items():
        error = np.abs(found - exact).max()
        assert asked == ("auto", "fp32") or 1e-6 < error < 0.3 * np.abs(exact).max()
    assert len({array.tobytes() for array in vectors.values()}) == 4


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ("x86 with VNNI", ("openvino", "int8")),
        ("x86 without VNNI", ("onnxruntime", "int8")),
        ("Arm", ("onnxruntime", "int8")),
    ],
)
def test_each_kind_of_processor_has_its_order(
    monkeypatch: pytest.MonkeyPatch, processor: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(selection, "processor_kind", lambda: processor)
    assert picked(WHOLE)[:2] == expected
    assert picked(WHOLE, precision="int8")[:2] == expected
    only = ("int8" if processor == "x86 with VNNI" else "fp32",)
    assert picked(WHOLE, backend="openvino")[1:2] == only
    assert picked(WHOLE, backend="openvino", precision="int8")[:2] == ("openvino", "int8")
