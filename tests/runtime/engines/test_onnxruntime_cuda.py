"""The session of ONNX Runtime on a GPU, on a recording double that computes on the CPU: what is bound and recorded.

What a real GPU makes of it is tested in `tests/gpu`.
"""

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.checks.parity import make_grid
from dpr_export.runtime.engines.nvidia import onnxruntime_cuda
from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import OnnxRuntimeCudaSession, cuda_problem
from dpr_export.runtime.engines.session import DeviceSession, Feeds
from dpr_export.runtime.inference import selection
from tests.calls import largest_share, on_cpu, random_call
from tests.doubles.onnxruntime_cuda import OnnxRuntimeDouble, OrtValueDouble

FUSED = "onnx/model_ort_fp16.onnx"


@pytest.fixture
def opened(tiny_variants: dict[str, Path], onnxruntime_double: OnnxRuntimeDouble) -> Iterator[Callable[..., object]]:
    sessions = []

    def open_it(kind: str = "question", file: str = FUSED, device: str = "cuda") -> OnnxRuntimeCudaSession:
        session = OnnxRuntimeCudaSession(tiny_variants[kind] / file, device=device)
        onnxruntime_double.runs.clear()
        sessions.append(session)
        return session

    yield open_it
    for session in sessions:
        session.close()


Opened = Callable[..., OnnxRuntimeCudaSession]


@pytest.mark.parametrize("file", [FUSED, MODEL_FILE])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_size_gives_what_the_graph_gives(
    tiny_variants: dict[str, Path], opened: Opened, kind: str, file: str
) -> None:
    session = opened(kind, file)
    sizes = [(1, 1), (1, 16), (3, 32), (5, 33), (2, 400), (1, 512), (20, 300), (9, 512)]
    for given in [
        *(random_call(kind, *size) for size in sizes),
        *make_grid(KINDS[kind], DPRConfig.from_pretrained(tiny_variants[kind])),
    ]:
        expected = on_cpu(tiny_variants[kind] / file, given)
        for _ in range(2):
            found = session.run(given)
            assert found.keys() == expected.keys()
            assert largest_share(found, expected, given) <= 5e-3


def test_a_small_call_is_padded_and_recorded_once_with_its_own_buffers(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    session = opened()
    for rows, length in ((3, 20), (4, 32), (1, 16), (3, 31), (2, 40)):
        session.run(random_call("question", rows, length))
    inputs = [(number, shapes[0]) for number, shapes in onnxruntime_double.runs]
    assert inputs == [("1", (4, 32)), ("1", (4, 32)), ("2", (1, 32)), ("1", (4, 32)), ("3", (2, 64))]
    assert onnxruntime_double.runs[0][1] == [(4, 32), (4, 32), (4, 32), (4, 32)]  # three inputs, and vectors of 32
    assert set(OrtValueDouble.devices) == {("cuda", 0)}


def test_a_large_call_and_one_with_a_row_masked_altogether_are_computed_as_they_are(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    session = opened("reader")
    session.run(random_call("reader", 9, 500))
    masked = random_call("reader", 3, 20)
    masked["attention_mask"][1] = 0
    session.run(masked)
    assert [(number, shapes) for number, shapes in onnxruntime_double.runs] == [
        ("-1", [(9, 500), (9, 500), (9, 500), (9, 500), (9,)]),
        ("-1", [(3, 20), (3, 20), (3, 20), (3, 20), (3,)]),
    ]


def test_the_provider_is_cudas_with_float32_as_float32(opened: Opened, onnxruntime_double: OnnxRuntimeDouble) -> None:
    session = opened(device="cuda:3")
    assert session.device == "cuda:3"
    session.run(random_call("question", 1, 8))
    assert set(OrtValueDouble.devices) == {("cuda", 3)}
    ((name, options),) = onnxruntime_double.sessions
    assert name == "CUDAExecutionProvider"
    assert (options["device_id"], options["enable_cuda_graph"], options["use_tf32"]) == ("3", "1", "0")
    assert session.engine == f"onnxruntime {onnxruntime.__version__} CUDAExecutionProvider, CUDA graphs"


def test_a_graph_that_cannot_be_recorded_is_run_without(
    tiny_variants: dict[str, Path], opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    onnxruntime_double.refusing = True
    session, given = opened(), random_call("question", 2, 16)
    assert [options["enable_cuda_graph"] for _, options in onnxruntime_double.sessions] == ["1", "0"]
    found = session.run(given)["pooler_output"]
    assert np.array_equal(found, on_cpu(tiny_variants["question"] / FUSED, given)["pooler_output"])
    assert onnxruntime_double.runs == [("-1", [(2, 16), (2, 16), (2, 16), (2, 32)])]
    assert session.engine.endswith("CUDAExecutionProvider")


def test_outputs_may_stay_on_the_device_and_are_the_callers_own(opened: Opened) -> None:
    session = opened("reader")
    assert isinstance(session, DeviceSession)
    calls = [
        random_call("reader", 3, 20),
        random_call("reader", 3, 20, seed=1),
        random_call("reader", 9, 500),
        random_call("reader", 9, 500, seed=1),
    ]
    left = [session.run_on_device(given) for given in calls]
    for given, outputs in zip(calls, left, strict=True):
        expected = session.run(given)
        for name, (value, shape) in outputs.items():
            found = np.from_dlpack(value)[tuple(map(slice, shape))]
            assert shape == expected[name].shape
            assert np.array_equal(found, expected[name])


def test_all_calls_are_made_by_one_thread(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime keeps what was recorded for each thread that calls it."""
    session = opened()
    seen, computed = set(), session._computed
    get_native_id = ctypes.CDLL(None).gettid

    def noting(given: Feeds) -> object:
        seen.add(get_native_id())
        return computed(given)

    monkeypatch.setattr(session, "_computed", noting)
    calls = [random_call("question", 1 + seed % 5, 10 + seed, seed) for seed in range(20)]
    expected = [session.run(given)["pooler_output"] for given in calls]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda given: session.run(given)["pooler_output"], calls * 3))
    in_order = [outputs["pooler_output"] for outputs in session.run_all(iter(calls))]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected * 3, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(in_order, expected, strict=True))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "CUDA failure 2: out of memory ; GPU=0",
            "out of memory on cuda:0, at 3 x 20: give smaller batches (batch_tokens)",
        ),
        ("Failed to allocate memory for requested buffer", "out of memory on cuda:0, at 3 x 20: give smaller batches"),
        (
            "CUDA failure 700:\n an illegal   address",
            "ONNX Runtime failed on cuda:0, at 3 x 20: CUDA failure 700: an illegal",
        ),
    ],
)
def test_what_fails_is_one_line_and_the_session_can_be_closed(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble, message: str, told: str
) -> None:
    session, given = opened(), random_call("question", 3, 20)
    for run in (session.run, session.run_on_device):
        onnxruntime_double.failing += [message] * 2  # first as a recording, then as it is
        with pytest.raises(RuntimeError) as raised:
            run(given)
        assert str(raised.value).startswith(told)
        assert "\n" not in str(raised.value)
    assert session.run(given)["pooler_output"].shape == (3, 32)
    session.close()
    session.close()
    for run in (session.run, session.run_on_device):
        with pytest.raises(RuntimeError, match=r"^this session is closed$"):
            run(given)


def test_a_recording_that_breaks_off_is_tried_again_in_later_calls_a_few_times(
    tiny_variants: dict[str, Path], opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    for failures, expected in (
        (1, ["1", "-1", "2", "2", "2", "2"]),
        (2, ["1", "-1", "2", "-1", "3", "3", "3"]),
        (3, ["1", "-1", "2", "-1", "3", "-1", "-1", "-1"]),
    ):
        session, given = opened(), random_call("question", 3, 20)
        for number in range(5):
            if number < failures:
                onnxruntime_double.failing.append("operation failed due to a previous error during capture")
            found = session.run(given)["pooler_output"]
            assert np.array_equal(found, on_cpu(tiny_variants["question"] / FUSED, given)["pooler_output"])
        assert [number for number, _ in onnxruntime_double.runs] == expected


def test_three_recordings_of_any_size_that_break_off_in_a_row_are_the_last(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    """The library that breaks them off gets errors itself."""
    session = opened()
    for broken, length in ((1, 20), (1, 50), (0, 100), (1, 200), (1, 300), (1, 50), (0, 20), (0, 50)):
        onnxruntime_double.failing += ["operation failed due to a previous error during capture"] * broken
        session.run(random_call("question", 3, length))
    assert list(session._recorded) == [(4, 128)]
    numbers = [number for number, _ in onnxruntime_double.runs]
    assert numbers == ["1", "-1", "2", "-1", "3", "4", "-1", "5", "-1", "6", "-1", "-1", "-1"]


@pytest.mark.parametrize("refusing", [False, True])
def test_opening_prints_nothing_and_leaves_the_librarys_log_as_it_is_by_default(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble, capfd: pytest.CaptureFixture[str], refusing: bool
) -> None:
    onnxruntime_double.refusing = refusing
    opened()
    assert capfd.readouterr() == ("", "")
    assert onnxruntime_double.severity == 2


@pytest.mark.parametrize("meanwhile", ["open", "run", "capture"])
def test_a_recording_is_not_broken_off_by_another_session(
    tiny_variants: dict[str, Path], opened: Opened, meanwhile: str
) -> None:
    """Not by one that is opened, that runs a call, or that records as well."""
    recording, other, going = opened(), opened("reader"), threading.Event()

    def use_cuda() -> None:
        for number in range(1000):
            if meanwhile == "open":
                OnnxRuntimeCudaSession(tiny_variants["question"] / FUSED).close()
            else:
                other.run(
                    random_call("reader", 20, 300) if meanwhile == "run" else random_call("reader", 1, 1 + number)
                )
            if going.is_set():
                return

    thread = threading.Thread(target=use_cuda)
    thread.start()
    sizes = [(rows, length) for length in (32, 64, 128) for rows in (1, 2, 4, 8)]
    for rows, length in sizes:
        recording.run(random_call("question", rows, length))
    going.set()
    thread.join()
    assert sorted(recording._recorded) == sorted(sizes)
    assert recording._failed_captures == other._failed_captures == 0


def test_onnx_runtime_is_only_used_on_the_sessions_own_thread(
    tiny_variants: dict[str, Path], onnxruntime_double: OnnxRuntimeDouble
) -> None:
    """ONNX Runtime leaves its GPU as the current device of each thread that calls it, the caller's included."""
    session = OnnxRuntimeCudaSession(tiny_variants["question"] / FUSED, device="cuda:1")
    session.run(random_call("question", 1, 8))
    session.close()
    gc.collect()
    assert len(onnxruntime_double.threads) == 3  # opened, run, freed
    assert len(set(onnxruntime_double.threads)) == 1
    assert threading.get_ident() not in onnxruntime_double.threads


def test_memory_is_not_planned_a_second_time_for_each_shape(
    opened: Opened, onnxruntime_double: OnnxRuntimeDouble
) -> None:
    opened()
    (options,) = onnxruntime_double.options
    assert not options.enable_mem_pattern


def test_outputs_are_never_in_memory_that_onnx_runtime_allocates(opened: Opened) -> None:
    """What it allocates, recordings may have computed in, and will again."""
    session = opened("reader")
    for size in ((3, 20), (9, 500)):
        for _ in range(2):
            OrtValueDouble.devices.clear()
            session.run_on_device(random_call("reader", *size))
            assert len(OrtValueDouble.devices) >= 3  # start, end and relevance logits of the caller's own


def test_a_session_that_did_not_get_cuda_is_an_error(
    tiny_variants: dict[str, Path], onnxruntime_double: OnnxRuntimeDouble
) -> None:
    onnxruntime_double.providers = ["CPUExecutionProvider"]
    with pytest.raises(RuntimeError, match="did not get CUDAExecutionProvider, only CPUExecutionProvider"):
        OnnxRuntimeCudaSession(tiny_variants["question"] / FUSED)


def test_a_gpu_that_cannot_be_used_is_an_error_that_says_why(
    tiny_variants: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "gpu_problem", lambda _: "no NVIDIA driver is installed")
    with pytest.raises(RuntimeError, match="ONNX Runtime cannot use cuda:2: no NVIDIA driver is installed"):
        OnnxRuntimeCudaSession(tiny_variants["question"] / FUSED, device="cuda:2")


class TestWhatIsMissing:
    """With a GPU that can be used, one piece of software after another is missing."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnxruntime_cuda, "gpu_problem", lambda _: None)
        monkeypatch.setattr(onnxruntime_cuda, "compute_capability", lambda _: "8.9")

    @pytest.fixture
    def wheel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An onnxruntime-gpu without its libraries."""
        double = OnnxRuntimeDouble()
        double.__file__ = str(tmp_path / "__init__.py")
        monkeypatch.setattr(onnxruntime_cuda, "ort", double)
        (tmp_path / "capi").mkdir()
        return tmp_path / "capi"

    def test_a_wheel_without_cuda(self) -> None:
        assert cuda_problem(0) == (
            'this onnxruntime is built without CUDA: pip uninstall onnxruntime, then pip install "dpr-export[gpu]"'
        )

    def test_a_wheel_that_lost_its_provider(self, wheel: Path) -> None:
        assert cuda_problem(0) == (
            f'onnxruntime_providers_shared is not in {wheel}: pip install --force-reinstall "dpr-export[gpu]"'
        )

    @pytest.mark.parametrize(
        ("opened", "missing"),
        [("onnxruntime_providers_cuda", "libcudart.so.13"), ("libcudnn.so.9", "libcudnn.so.9")],
    )
    def test_cuda_or_cudnn(self, wheel: Path, monkeypatch: pytest.MonkeyPatch, opened: str, missing: str) -> None:
        """The provider is linked with CUDA, and loads cuDNN itself, in the first call."""
        for name in ("shared", "cuda"):
            (wheel / f"libonnxruntime_providers_{name}.so").touch()

        def load(path: str, **_: object) -> None:
            if opened in path:
                raise OSError(f"{missing}: cannot open shared object file")

        monkeypatch.setattr(ctypes, "CDLL", load)
        assert cuda_problem(0) == (
            f"{missing}: cannot open shared object file: "
            'pip install "onnxruntime-gpu[cuda,cudnn]" installs CUDA 13.0 and cuDNN'
        )
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
        assert cuda_problem(0) is None

    @pytest.mark.parametrize(
        ("capability", "runs"),
        [("7.0", False), ("7.5", True), ("8.7", True), ("9.0", True), ("10.0", False), ("12.1", True)],
    )
    def test_machine_code_for_the_gpu(
        self, wheel: Path, monkeypatch: pytest.MonkeyPatch, capability: str, runs: bool
    ) -> None:
        assert not list(wheel.iterdir())
        monkeypatch.setattr(onnxruntime_cuda, "compute_capability", lambda _: capability)
        onnxruntime_cuda.ort.__version__ = "1.31.1"
        problem = cuda_problem(0)
        assert problem is not None
        said = f"onnxruntime-gpu 1.31.1 has no machine code for compute capability {capability}, only for 7.5, 8.0, "
        assert problem.startswith("onnxruntime_providers_shared" if runs else said)
        onnxruntime_cuda.ort.__version__ = "1.99"  # nobody knows what that has
        assert "machine code" not in str(cuda_problem(0))


def test_a_model_on_a_gpu_runs_the_fused_fp16_variant_and_keeps_torch_on_the_cpu_where_it_is(
    tiny_variants: dict[str, Path], onnxruntime_double: OnnxRuntimeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "gpu_problem", lambda _: None)
    monkeypatch.setattr("dpr_export.runtime.inference.verdicts.compute_capability", lambda _: "8.9")
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 100, (3, 13)))
    with DPRQuestionEncoder.from_pretrained(tiny_variants["question"], backend="onnxruntime", device="cuda") as model:
        assert f"{FUSED} (onnxruntime fp16) on cuda:0" in model.explain()
        assert model.device == "cuda:0"
        found = model(ids).pooler_output
        vectors = model.encode(["who wrote hamlet ?", "where"])
    assert found.device == torch.device("cpu")
    assert any(run[1][0] == (4, 32) for run in onnxruntime_double.runs)  # after those of the first load's check
    with DPRQuestionEncoder.from_pretrained(tiny_variants["question"], precision="fp32", device="cpu") as model:
        assert np.abs(model(ids).pooler_output.numpy() - found.numpy()).max() < 5e-3
        assert np.abs(model.encode(["who wrote hamlet ?", "where"]) - vectors).max() < 5e-3
