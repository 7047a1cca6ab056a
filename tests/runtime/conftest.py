"""GPUs without a GPU: the recording doubles of `tests/doubles`, in the place of the libraries."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpr_export.runtime.engines.nvidia import driver as nvidia
from dpr_export.runtime.engines.nvidia import tensorrt
from dpr_export.runtime.engines.nvidia.tensorrt import LIBRARIES
from tests.doubles.cuda import CudaDouble
from tests.doubles.onnxruntime_cuda import OnnxRuntimeDouble

if TYPE_CHECKING:  # which needs onnx
    from tests.doubles.tensorrt import TensorRtDouble


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dpr-export"


@pytest.fixture
def cuda_double(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    """A double of CUDA's runtime, with one GPU; at the end of the test nothing of it may be left allocated."""
    cuda = pytest.importorskip("dpr_export.runtime.engines.nvidia.cuda", exc_type=ImportError)
    double = CudaDouble()
    monkeypatch.setattr(nvidia, "_gpus", lambda: (("8.9",), None))
    monkeypatch.setattr(cuda, "runtime", double)
    monkeypatch.setattr(cuda, "has_context", lambda _: True)
    return double


@pytest.fixture
def tensorrt_double(monkeypatch: pytest.MonkeyPatch, cuda_double: CudaDouble) -> Callable[[str], "TensorRtDouble"]:
    """A function that puts a double of one of the TensorRT libraries in its place."""

    from tests.doubles.tensorrt import TensorRtDouble

    def put(name: str) -> TensorRtDouble:
        library = next(library for library in LIBRARIES if library.name == name)
        double = TensorRtDouble(cuda_double, own_recording=library.own_recording)
        monkeypatch.setattr(tensorrt, "installed", lambda: library)
        monkeypatch.setattr(tensorrt, "import_module", lambda _: double)
        return double

    return put


@pytest.fixture
def onnxruntime_double(monkeypatch: pytest.MonkeyPatch) -> OnnxRuntimeDouble:
    """A double of onnxruntime-gpu, with one GPU."""
    from dpr_export.runtime.engines.nvidia import onnxruntime_cuda

    double = OnnxRuntimeDouble()
    monkeypatch.setattr(onnxruntime_cuda, "ort", double)
    monkeypatch.setattr(onnxruntime_cuda, "cuda_problem", lambda _: None)
    return double
