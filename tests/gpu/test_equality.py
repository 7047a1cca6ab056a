"""Every variant for GPUs computes what it must, at every size of the table, on the engine and GPU that run it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dpr_export.models.artifact.reference_outputs import Arrays
from dpr_export.models.artifact.variants import VARIANTS, VariantSpec
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder, DPRReader
from dpr_export.runtime.engines.session import DeviceSession, Feeds, open_session
from tests.calls import largest_share, random_call
from tests.gpu.conftest import SIZES, TOLERANCE

ROWS = [spec for spec in VARIANTS if "cuda" in spec.devices]
CASES = [pytest.param(kind, spec, id=f"{kind}-{spec.backend}-{spec.precision}") for kind in KINDS for spec in ROWS]


@pytest.fixture
def session(
    tiny_variants: dict[str, Path], engine: Callable[[str], None], kind: str, spec: VariantSpec
) -> Iterator[DeviceSession]:
    engine(spec.backend)
    if spec.backend == "tensorrt":
        from dpr_export.runtime.checks.build_engine import build_engine

        assert build_engine(tiny_variants[kind], precision=spec.precision).record.verified
    opened = open_session(
        spec.backend, tiny_variants[kind] / spec.file, device="cuda", threads=1, precision=spec.precision
    )
    assert isinstance(opened, DeviceSession)
    yield opened
    opened.close()


def compare(found: Arrays, expected: Arrays, given: Feeds, precision: str) -> None:
    assert all(np.isfinite(array).all() for array in found.values())
    assert largest_share(found, expected, given) <= TOLERANCE[precision]


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_every_size_gives_what_it_must(
    session: DeviceSession, expected: Callable[[Feeds], Arrays], kind: str, spec: VariantSpec
) -> None:
    for rows, length in SIZES:
        given = random_call(kind, rows, length)
        first = session.run(given)
        compare(first, expected(given), given, spec.precision)
        for _ in range(3):  # recorded now, and replayed
            again = session.run(given)
            assert all(np.allclose(again[name], first[name], atol=1e-3) for name in first)


def test_opening_a_session_prints_nothing(
    tiny_variants: dict[str, Path], engine: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    engine("onnxruntime")
    graph = tiny_variants["question"] / "onnx/model_ort_fp16.onnx"
    capfd.readouterr()
    open_session("onnxruntime", graph, device="cuda", threads=1, precision="fp16").close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_row_that_is_masked_altogether_is_finite_and_spoils_no_other(
    session: DeviceSession, expected: Callable[[Feeds], Arrays], kind: str, spec: VariantSpec
) -> None:
    for length in (16, 128, 512):
        given = random_call(kind, 4, length)
        given["attention_mask"][2] = 0
        found, wanted = session.run(given), expected(given)
        assert all(np.isfinite(array).all() for array in found.values())
        kept = [0, 1, 3]
        compare(
            {name: array[kept] for name, array in found.items()},
            {name: array[kept] for name, array in wanted.items()},
            {name: array[kept] for name, array in given.items()},
            spec.precision,
        )


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_outputs_that_stay_on_the_gpu_are_the_same_numbers(
    session: DeviceSession, kind: str, spec: VariantSpec
) -> None:
    calls = [random_call(kind, *size) for size in ((1, 16), (1, 20), (70, 300))]
    left = [session.run_on_device(given) for given in calls]
    for given, outputs in zip(calls, left, strict=True):
        expected = session.run(given)
        for name, (array, shape) in outputs.items():
            tensor = torch.from_dlpack(array)[tuple(map(slice, shape))]
            assert tensor.is_cuda, spec
            assert np.allclose(tensor.cpu().numpy(), expected[name], atol=1e-3)


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_torch_tensors_on_the_gpu_give_torch_tensors_on_the_gpu(
    tiny_variants: dict[str, Path], engine: Callable[[str], None], backend: str
) -> None:
    engine(backend)
    for kind, model_class in (("question", DPRQuestionEncoder), ("reader", DPRReader)):
        if backend == "tensorrt":
            from dpr_export.runtime.checks.build_engine import build_engine

            build_engine(tiny_variants[kind], precision="fp16")
        ids = torch.randint(5, 100, (3, 41), device="cuda")
        with model_class.from_pretrained(tiny_variants[kind], backend=backend, device="cuda") as model:
            there, here = model(ids), model(ids.cpu().numpy())
            for name in KINDS[kind].outputs:
                assert there[name].is_cuda
                assert there[name].is_contiguous()
                assert np.allclose(there[name].cpu().numpy(), here[name], atol=1e-3)


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_memory_does_not_grow_with_the_sizes_that_were_seen(
    session: DeviceSession, kind: str, spec: VariantSpec
) -> None:
    """Once every size was recorded, a thousand calls more take no more memory."""
    sizes = [(rows, length) for rows in (1, 2, 3, 7, 20) for length in (1, 20, 40, 100, 200, 400)]
    for size in sizes:
        session.run(random_call(kind, *size))
    free, _ = torch.cuda.mem_get_info()
    for number in range(1000):
        session.run(random_call(kind, *sizes[number % len(sizes)]))
    left, _ = torch.cuda.mem_get_info()
    assert free - left < 64e6, spec
