"""The TensorRT session, on recording doubles of TensorRT and CUDA: what is asked of them, and what comes back.

The doubles compute with ONNX Runtime what stands at the addresses they are given, so results show that every byte was
where it belongs. What a real GPU makes of the calls is tested in `tests/gpu`.
"""

import ctypes
import gc
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
import torch

from dpr_export.models.artifact.folder import hash_file
from dpr_export.models.artifact.variants import MODEL_FILE, VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder, DPRReader
from dpr_export.runtime.checks.build_engine import build_engine
from dpr_export.runtime.checks.parity import make_grid
from dpr_export.runtime.engines.nvidia import tensorrt_session
from dpr_export.runtime.engines.nvidia.capture_lock import CAPTURE_LOCK
from dpr_export.runtime.engines.nvidia.cuda import CudaError, OutOfMemoryError
from dpr_export.runtime.engines.nvidia.dlpack import CUDA
from dpr_export.runtime.engines.nvidia.engine_files import engine_path, kernels_path
from dpr_export.runtime.engines.nvidia.tensorrt import LIBRARIES
from dpr_export.runtime.engines.nvidia.tensorrt_session import TensorRtSession
from dpr_export.runtime.engines.session import DeviceSession
from tests.calls import largest_share, on_cpu, random_call
from tests.doubles.arrays import GpuArray
from tests.doubles.cuda import CudaDouble, cudaError_t
from tests.doubles.tensorrt import SCRATCH_OF_A_TOKEN, TensorRtDouble

NAMES = [library.name for library in LIBRARIES]
GRAPHS = {spec.precision: spec.file for spec in VARIANTS if spec.backend == "tensorrt"}

# As a share of the largest output: in a batch and padded, products are summed in another order.
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "int8": 2e-2}

pytestmark = pytest.mark.usefixtures("cache_home")


@pytest.fixture(params=NAMES)
def library(request: pytest.FixtureRequest, tensorrt_double: Callable[[str], TensorRtDouble]) -> TensorRtDouble:
    return tensorrt_double(request.param)


@pytest.fixture
def tensorrt(tensorrt_double: Callable[[str], TensorRtDouble]) -> TensorRtDouble:
    return tensorrt_double("tensorrt")


Opened = Callable[..., TensorRtSession]


@pytest.fixture
def opened(tiny_variants: dict[str, Path], cuda_double: CudaDouble) -> Iterator[Opened]:
    """A function that builds an engine and opens it; afterwards nothing may be left of it."""
    sessions: list[TensorRtSession] = []

    def build_and_open(kind: str = "question", precision: str = "fp16", **options: object) -> TensorRtSession:
        build_engine(tiny_variants[kind], precision=precision, **options)
        session = TensorRtSession(tiny_variants[kind] / GRAPHS[precision], precision=precision)
        cuda_double.calls.clear()
        sessions.append(session)
        return session

    yield build_and_open
    for session in sessions:
        session.close()
    assert (cuda_double.device, cuda_double.pinned, cuda_double.streams, cuda_double.recordings) == ({}, {}, {}, {})


@pytest.mark.parametrize("precision", list(GRAPHS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_size_gives_what_the_graph_gives(
    tiny_variants: dict[str, Path], opened: Opened, library: TensorRtDouble, kind: str, precision: str
) -> None:
    session = opened(kind, precision)
    for rows, length in ((1, 1), (1, 16), (3, 32), (5, 33), (2, 400), (1, 512), (40, 500), (33, 512)):
        given = random_call(kind, rows, length)
        expected = on_cpu(tiny_variants[kind] / GRAPHS[precision], given)
        for _ in range(1 if rows > 32 else 2):  # computed as it is the first time; small calls are replayed the second
            found = session.run(given)
            assert found.keys() == expected.keys()
            assert largest_share(found, expected, given) <= TOLERANCE[precision]
    assert session.engine == f"{library_name(library)} 1.2.3.4 on Double GPU"


def library_name(library: TensorRtDouble) -> str:
    return NAMES[library.own_recording]


def test_a_small_call_is_recorded_once_and_replayed(
    opened: Opened, cuda_double: CudaDouble, tensorrt: TensorRtDouble
) -> None:
    session = opened()
    session.run(random_call("question", 3, 20))
    call = ["cudaMemcpyAsync"] * 4  # three inputs, and an output
    assert cuda_double.names() == [
        *(
            "cudaGetDevice",
            "cudaSetDevice",
            "cudaStreamSynchronize",
        ),  # the context is made before its inputs are copied
        *(*call, "cudaStreamSynchronize"),
        *("cudaStreamBeginCapture", *call, "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy"),
        "cudaSetDevice",
    ]
    assert [call[0] for call in tensorrt.calls[-2:]] == ["execute_async_v3"] * 2
    for rows in (3, 4, 3):
        cuda_double.calls.clear()
        tensorrt.calls.clear()
        session.run(random_call("question", rows, 30, seed=rows))
        replay = ["cudaGraphLaunch", "cudaStreamSynchronize"]
        assert cuda_double.names() == ["cudaGetDevice", "cudaSetDevice", *replay, "cudaSetDevice"]
        assert tensorrt.calls == []
    session.run(random_call("question", 1, 30))
    assert "cudaStreamBeginCapture" in cuda_double.names()


def test_a_large_call_is_not_recorded_and_not_padded_in_rows(
    opened: Opened, cuda_double: CudaDouble, tensorrt: TensorRtDouble
) -> None:
    session = opened("reader")
    tensorrt.calls.clear()
    session.run(random_call("reader", 9, 512))
    session.run(random_call("reader", 9, 512))
    assert "cudaStreamBeginCapture" not in cuda_double.names()
    assert [call for call in tensorrt.calls if call[0] == "execute_async_v3"] == [("execute_async_v3", 4, (9, 512))] * 2


def test_tensorrt_rtx_records_by_itself(
    opened: Opened, cuda_double: CudaDouble, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    tensorrt_double("tensorrt_rtx")
    session = opened()
    for _ in range(3):
        session.run(random_call("question", 1, 16))
    assert not {"cudaStreamBeginCapture", "cudaGraphLaunch"} & set(cuda_double.names())


def test_a_call_that_is_too_large_is_split_and_its_rows_stay_in_order(
    tiny_variants: dict[str, Path], opened: Opened, tensorrt: TensorRtDouble
) -> None:
    session, given = opened("reader"), random_call("reader", 70, 300)
    found, expected = session.run(given), on_cpu(tiny_variants["reader"] / GRAPHS["fp16"], given)
    sizes = [call[2] for call in tensorrt.calls if call[0] == "execute_async_v3"][-4:]
    assert sizes == [(32, 512), (32, 512), (8, 512), (8, 512)]  # the last, which is small, is recorded as well
    assert np.abs(found["relevance_logits"] - expected["relevance_logits"]).max() < 5e-3
    assert found["start_logits"].shape == (70, 300)


def test_each_length_has_one_context_made_when_it_is_first_met(opened: Opened, tensorrt: TensorRtDouble) -> None:
    session = opened()
    tensorrt.calls.clear()
    for length in (10, 20, 100, 500, 90, 1):
        session.run(random_call("question", 2, length))
    made = [
        call for call in tensorrt.calls if call[0] in ("create_execution_context", "set_optimization_profile_async")
    ]
    profiles = [("set_optimization_profile_async", number) for number in (0, 2, 4)]
    assert made == [call for profile in profiles for call in (("create_execution_context",), profile)]


@pytest.mark.usefixtures("tensorrt")
def test_all_memory_is_allocated_at_the_start_as_planned(
    opened: Opened,
    cuda_double: CudaDouble,
) -> None:
    session = opened("reader")
    largest, rows = 16_384, 512
    buffers = 2 * 8 * largest + 2 * 4 * largest + 4 * rows  # ids and masks, start and end logits, relevance
    assert sum(map(len, cuda_double.pinned.values())) == buffers
    assert sum(map(len, cuda_double.device.values())) == buffers + SCRATCH_OF_A_TOKEN * largest
    for rows, length in ((1, 1), (600, 32), (33, 512)):
        session.run(random_call("reader", rows, length))
    assert not {"cudaMalloc", "cudaMallocHost"} & set(cuda_double.names())


@pytest.mark.usefixtures("tiny_variants", "library")
def test_outputs_may_stay_on_the_device_and_are_the_callers_own(opened: Opened, cuda_double: CudaDouble) -> None:
    session = opened("reader")
    allocated = dict(cuda_double.device)
    assert isinstance(session, DeviceSession)
    calls = [random_call("reader", 70, 300), random_call("reader", 3, 20), random_call("reader", 3, 20, seed=1)]
    left = [session.run_on_device(given) for given in calls]
    for given, outputs in zip(calls, left, strict=True):
        expected = session.run(given)
        assert outputs.keys() == expected.keys()
        for name, (array, shape) in outputs.items():
            assert array.__dlpack_device__() == (CUDA, 0)
            assert shape == array.shape == expected[name].shape
            cuda_double.check(array.address, expected[name].nbytes, "device")
            found = np.frombuffer(ctypes.string_at(array.address, expected[name].nbytes), np.float32).reshape(shape)
            assert np.array_equal(found, expected[name])
    del left, outputs, array
    assert cuda_double.device == allocated


@pytest.mark.usefixtures("tensorrt")
def test_an_array_may_outlive_its_session(
    opened: Opened,
    cuda_double: CudaDouble,
) -> None:
    session = opened()
    left = session.run_on_device(random_call("question", 1, 8))
    session.close()
    assert len(cuda_double.device) == 1
    del left
    assert cuda_double.device == {}


@pytest.mark.usefixtures("tensorrt")
def test_many_threads_get_each_its_own_results(
    opened: Opened,
) -> None:
    session = opened()
    calls = [random_call("question", 1 + seed % 5, 10 + seed % 60, seed) for seed in range(24)]
    expected = [session.run(given)["pooler_output"] for given in calls]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda given: session.run(given)["pooler_output"], calls * 3))
    assert all(np.array_equal(one, other) for one, other in zip(found, expected * 3, strict=True))
    in_order = [outputs["pooler_output"] for outputs in session.run_all(iter(calls))]
    assert all(np.array_equal(one, other) for one, other in zip(in_order, expected, strict=True))


@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize("use", ["open", "run", "close"])
def test_a_session_waits_while_onnx_runtime_captures_a_graph(
    tiny_variants: dict[str, Path], opened: Opened, cuda_double: CudaDouble, use: str
) -> None:
    """In CUDA's global mode, where another thread's allocation fails and breaks the capture off."""
    session = opened()
    uses = {
        "open": lambda: TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"]).close(),
        "run": lambda: session.run_on_device(random_call("question", 1, 8)),
        "close": session.close,
    }
    thread = threading.Thread(target=uses[use])
    with CAPTURE_LOCK.capture():
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        assert not {"cudaMalloc", "cudaMallocHost", "cudaFree"} & set(cuda_double.names())
    thread.join(30)
    assert not thread.is_alive()
    assert {"cudaMalloc", "cudaFree"} & set(cuda_double.names())


@pytest.mark.usefixtures("tensorrt")
def test_every_thread_keeps_the_current_device_that_it_had(opened: Opened, cuda_double: CudaDouble) -> None:
    session, devices = opened(), []

    def run(device: int) -> None:
        cuda_double.cudaSetDevice(device)
        left = session.run_on_device(random_call("question", 1, 8))
        devices.append(cuda_double.cudaGetDevice()[1])
        del left
        devices.append(cuda_double.cudaGetDevice()[1])

    for device in (3, 0):
        thread = threading.Thread(target=run, args=(device,))
        thread.start()
        thread.join()
    assert devices == [3, 3, 0, 0]


@pytest.mark.usefixtures("library")
def test_memory_that_is_too_small_is_said_and_nothing_of_it_is_kept(
    tiny_variants: dict[str, Path],
    cuda_double: CudaDouble,
) -> None:
    build_engine(tiny_variants["question"])
    cuda_double.capacity = 1_000_000
    with pytest.raises(OutOfMemoryError, match=r"^out of memory on cuda:0: 0.00 GB were asked for, and 0.00 of 0.00"):
        TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    assert (cuda_double.device, cuda_double.pinned, cuda_double.streams) == ({}, {}, {})


@pytest.mark.usefixtures("tensorrt")
def test_memory_that_runs_out_in_a_call_leaves_the_session_usable(
    opened: Opened,
    cuda_double: CudaDouble,
) -> None:
    session, given = opened(), random_call("question", 2, 16)
    expected = session.run(given)
    cuda_double.failing["cudaMalloc"] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(OutOfMemoryError, match="out of memory on cuda:0"):
        session.run_on_device(given)
    assert np.array_equal(session.run(given)["pooler_output"], expected["pooler_output"])


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaGraphLaunch"])
@pytest.mark.usefixtures("tensorrt")
def test_a_device_that_is_lost_is_said_from_then_on_and_the_session_can_be_closed(
    opened: Opened, cuda_double: CudaDouble, call: str
) -> None:
    session, given = opened(), random_call("question", 2, 16)
    session.run(given)
    cuda_double.failing[call] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(CudaError, match=rf"^{call} failed on cuda:0: error 700 of the double$"):
        session.run(given)
    for run in (session.run, session.run_on_device):
        with pytest.raises(
            RuntimeError, match=r"this session's device is lost \(.* error 700 of the double\): close it"
        ):
            run(given)
    for name in ("cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaGraphExecDestroy"):
        cuda_double.failing[name] = cudaError_t.cudaErrorIllegalAddress
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        session.run(given)


def test_a_call_that_the_engine_fails_is_said_and_the_next_one_runs(opened: Opened, library: TensorRtDouble) -> None:
    session, given = opened(), random_call("question", 20, 500)
    library.failing.append("a kernel   could not\nbe launched")
    with pytest.raises(RuntimeError, match=r"failed: a call of 20 x 512: a kernel could not be launched$"):
        session.run(given)
    assert session.run(given)["pooler_output"].shape == (20, 32)


def test_a_context_that_cannot_be_made_is_said(opened: Opened, library: TensorRtDouble) -> None:
    session = opened()
    library.no_contexts = True
    with pytest.raises(RuntimeError, match="cannot make an execution context: no context can be made"):
        session.run(random_call("question", 1, 8))
    library.no_contexts = False
    assert session.run(random_call("question", 1, 8))["pooler_output"].shape == (1, 32)


@pytest.mark.usefixtures("library")
def test_a_session_that_is_forgotten_frees_all_it_has(tiny_variants: dict[str, Path], cuda_double: CudaDouble) -> None:
    build_engine(tiny_variants["question"])
    session = TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    session.run(random_call("question", 2, 16))
    del session
    gc.collect()
    assert (cuda_double.device, cuda_double.pinned, cuda_double.streams, cuda_double.recordings) == ({}, {}, {}, {})


@pytest.mark.usefixtures("tensorrt")
def test_an_interruption_while_a_size_is_recorded_leaves_the_session_usable(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, given = opened(), random_call("question", 2, 16)
    enqueue, calls = session._enqueue, []

    def interrupted(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        enqueue(*arguments)

    monkeypatch.setattr(session, "_enqueue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.run(given)
    assert session.run(given)["pooler_output"].shape == (2, 32)


@pytest.mark.usefixtures("tensorrt")
def test_a_size_that_cannot_be_recorded_is_run_without(
    opened: Opened,
    cuda_double: CudaDouble,
) -> None:
    session, given = opened(), random_call("question", 2, 16)
    cuda_double.failing["cudaStreamEndCapture"] = cudaError_t.cudaErrorStreamCaptureInvalidated
    expected = session.run(given)["pooler_output"]
    cuda_double.calls.clear()
    assert np.array_equal(session.run(given)["pooler_output"], expected)
    assert not {"cudaStreamBeginCapture", "cudaGraphLaunch"} & set(cuda_double.names())


@pytest.mark.usefixtures("library")
def test_closing_twice_and_running_a_closed_session(
    opened: Opened,
) -> None:
    session = opened()
    session.run(random_call("question", 1, 8))
    session.close()
    session.close()
    for run in (session.run, session.run_on_device):
        with pytest.raises(RuntimeError, match=r"^this session is closed$"):
            run(random_call("question", 1, 8))


def test_tensorrt_rtx_keeps_the_kernels_it_compiled_for_the_next_process(
    tiny_variants: dict[str, Path], opened: Opened, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    double = tensorrt_double("tensorrt_rtx")
    session = opened()
    session.close()
    kernels = kernels_path(engine_path(sha256(tiny_variants), "tensorrt_rtx", "8.9", None))
    assert not kernels.exists()  # nothing was compiled
    session = TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    session.run(random_call("question", 1, 8))
    session.close()
    assert kernels.read_bytes() == b"compiled;"
    session = TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    session.close()
    assert double.calls[-1] == ("deserialize kernels", b"compiled;")
    build_engine(tiny_variants["question"], force=True)
    assert not kernels.exists()  # they were of the engine before


def sha256(folders: dict[str, Path]) -> str:
    return hash_file(folders["question"] / GRAPHS["fp16"]).sha256


def deserialized(double: TensorRtDouble) -> list[bytes]:
    return [call[1] for call in double.calls if call[0] == "deserialize_cuda_engine"]


@pytest.mark.usefixtures("monkeypatch")
def test_an_engine_that_does_not_match_is_never_deserialized(
    tiny_variants: dict[str, Path],
    library: TensorRtDouble,
) -> None:
    graph = tiny_variants["question"] / GRAPHS["fp16"]
    path = build_engine(tiny_variants["question"]).path
    library.calls.clear()
    whole = path.read_bytes()
    header, _, engine = whole.partition(b"\n")
    values = json.loads(header)

    def with_key(**changed: object) -> bytes:
        return json.dumps({**values, "key": {**values["key"], **changed}}).encode() + b"\n" + engine

    command = f"dpr-runtime build {tiny_variants['question']} --precision fp16"
    for content, message in {
        with_key(version="9.9"): "the engine will not do: it was built by .* 9.9, and 1.2.3.4 is installed",
        with_key(driver="12.4"): "it was built with a driver of CUDA 12.4, and this one is of CUDA 13.0",
        with_key(graph="0" * 64): "it was built from another graph",
        with_key(compute_capability="8.6"): "it was built for compute capability 8.6, and this GPU has 8.9",
        with_key(library="other"): "it was built by other, and this is",
        whole[:-1]: "is damaged: it does not hold the engine that was built",
        whole[:-1] + b"?": "is damaged: it does not hold the engine that was built",
        b"": "is no engine of this version of dpr-export",
        engine: "is no engine of this version of dpr-export",
        header.replace(b'"format": 1', b'"format": 2') + b"\n" + engine: "is no engine of this version of dpr-export",
    }.items():
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match=message) as raised:
            TensorRtSession(graph)
        assert str(raised.value).endswith(f": {command}")
        assert "\n" not in str(raised.value)
        assert deserialized(library) == []
    path.unlink()
    with pytest.raises(RuntimeError, match=r"has no engine for this GPU, of compute capability 8.9.* \(none is in "):
        TensorRtSession(graph)
    path.with_name(path.name.replace("8.9", "8.6")).write_bytes(whole)
    with pytest.raises(RuntimeError, match=r"has no engine for this GPU, .* \(there is one for tensorrt\w*-8.6"):
        TensorRtSession(graph)
    assert deserialized(library) == []
    path.write_bytes(whole)
    TensorRtSession(graph).close()
    assert deserialized(library) == [engine]


@pytest.mark.usefixtures("library")
def test_an_engine_that_is_not_what_its_record_says_is_refused(
    tiny_variants: dict[str, Path], cuda_double: CudaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_engine(tiny_variants["question"])
    engine_for = tensorrt_session.engine_for
    outputs: dict[str, tuple[int | None, ...]] = {"pooler_output": (None, 31)}

    def lying(graph: str, index: int) -> tuple:
        trt, gpu, path, record = engine_for(graph, index)
        return trt, gpu, path, replace(record, outputs=outputs)

    monkeypatch.setattr(tensorrt_session, "engine_for", lying)
    with pytest.raises(RuntimeError, match="the engine is not what its record says"):
        TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    assert cuda_double.device == {}


def test_a_library_that_cannot_load_an_engine_is_said(tiny_variants: dict[str, Path], library: TensorRtDouble) -> None:
    build_engine(tiny_variants["question"])
    library.failing.append("version tag does not match")
    with pytest.raises(RuntimeError, match="cannot load the engine: version tag does not match"):
        TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])


@pytest.mark.usefixtures("tensorrt")
def test_the_whole_grid_of_the_parity_check_runs(
    tiny_variants: dict[str, Path],
    opened: Opened,
) -> None:
    session = opened("reader", "fp32")
    for given in make_grid(KINDS["reader"], DPRConfig.from_pretrained(tiny_variants["reader"])):
        found, expected = session.run(given), on_cpu(tiny_variants["reader"] / MODEL_FILE, given)
        read = given["attention_mask"].any(axis=1)
        for name, array in expected.items():
            assert np.isfinite(found[name]).all()
            assert np.abs(found[name][read] - array[read]).max(initial=0.0) < 1e-4


@pytest.mark.usefixtures("library")
def test_a_model_on_tensorrt_answers_and_leaves_outputs_where_the_ids_came_from(
    tiny_variants: dict[str, Path],
) -> None:
    ids = np.random.default_rng(0).integers(5, 100, (3, 40))
    for kind, model_class in (("question", DPRQuestionEncoder), ("reader", DPRReader)):
        build_engine(tiny_variants[kind], precision="fp16")
        with model_class.from_pretrained(tiny_variants[kind], backend="tensorrt", device="cuda") as model:
            assert model.device == "cuda:0"
            assert "on Double GPU" in model.explain()
            assert model.to("cuda") is model
            from_numpy, from_torch, on_device = (model(given) for given in (ids, torch.from_numpy(ids), GpuArray(ids)))
        with model_class.from_pretrained(
            tiny_variants[kind], backend="onnxruntime", precision="fp16", device="cpu"
        ) as cpu:
            expected = cpu(ids)
        for name in KINDS[kind].outputs:
            assert isinstance(from_numpy[name], np.ndarray)
            assert isinstance(from_torch[name], torch.Tensor)
            assert np.array_equal(from_numpy[name], from_torch[name].numpy())
            assert np.array_equal(from_numpy[name], on_device[name])
            assert np.abs(from_numpy[name] - expected[name]).max() < 5e-3 * np.abs(expected[name]).max()


@pytest.mark.usefixtures("library")
def test_a_model_picks_an_engine_by_itself_only_where_it_was_verified(
    tiny_variants: dict[str, Path],
) -> None:
    question = tiny_variants["question"]
    with DPRQuestionEncoder.from_pretrained(question) as model:
        assert "tensorrt fp16 on cuda: not verified on its engine" in model.explain()
        assert model.device == "cpu"
    with pytest.raises(RuntimeError, match=r"has no engine for this GPU.*: dpr-runtime build .* --precision int8"):
        DPRQuestionEncoder.from_pretrained(question, backend="tensorrt", precision="int8")
    with pytest.raises(ValueError, match=r"tensorrt fp16 on cuda: tensorrt.* has no engine for this GPU"):
        DPRQuestionEncoder.from_pretrained(question, backend="tensorrt", device="cuda")
    build_engine(question, precision="int8")
    with DPRQuestionEncoder.from_pretrained(question, backend="tensorrt", device="cuda", precision="int8") as model:
        assert "model_trt_int8.onnx (tensorrt int8) on cuda:0" in model.explain()


def test_a_gpu_that_tensorrt_rtx_has_no_kernels_for_is_refused_before_the_work(
    tiny_variants: dict[str, Path], tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    message = (
        r"^tensorrt_rtx has no kernels for Double GPU, of compute capability 8.9, only for 7.5, 12.0: "
        r'pip install "dpr-export\[tensorrt\]"$'
    )
    double = tensorrt_double("tensorrt_rtx")
    double.ComputeCapability = IntEnum("ComputeCapability", {"NONE": 0, "SM75": 75, "SM120": 120})
    with pytest.raises(RuntimeError, match=message):
        build_engine(tiny_variants["question"])
    with pytest.raises(RuntimeError, match=message):
        TensorRtSession(tiny_variants["question"] / GRAPHS["fp16"])
    assert double.calls == []
    with pytest.raises(ValueError, match=r"compute_capability is '8\.9', and must be one of: 7\.5, 12\.0"):
        build_engine(tiny_variants["question"], compute_capability="8.9")
