"""The doubles have no name that the real libraries have not, and no other values."""

from enum import IntEnum
from typing import Any

import onnxruntime
import pytest

from tests.doubles import cuda, onnxruntime_cuda, tensorrt

REAL_TENSORRT = {
    tensorrt.Builder: "Builder",
    tensorrt.Config: "IBuilderConfig",
    tensorrt.Context: "IExecutionContext",
    tensorrt.Engine: "ICudaEngine",
    tensorrt.Network: "INetworkDefinition",
    tensorrt.Parser: "OnnxParser",
    tensorrt.Profile: "IOptimizationProfile",
    tensorrt.Runtime: "Runtime",
    tensorrt.RuntimeCache: "IRuntimeCache",
    tensorrt.RuntimeConfig: "IRuntimeConfig",
    tensorrt.Tensor: "ITensor",
    tensorrt.TimingCache: "ITimingCache",
}
OF_THE_DOUBLES = {"compute", "read"}  # what a double needs to be one


def functions(double: type) -> set[str]:
    return {name for name, value in vars(double).items() if not name.startswith("_") and callable(value)}


@pytest.mark.parametrize("double", REAL_TENSORRT)
def test_a_class_of_tensorrt_has_the_methods_that_its_double_has(double: type) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    real = getattr(rtx, REAL_TENSORRT[double])
    assert functions(double) - OF_THE_DOUBLES <= set(dir(real))


def test_tensorrt_has_the_enumerations_that_its_double_has() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    double: Any = tensorrt.TensorRtDouble(cuda.CudaDouble(), own_recording=True)
    for name in (
        "BuilderFlag",
        "CudaGraphStrategy",
        "ExecutionContextAllocationStrategy",
        "NetworkDefinitionCreationFlag",
    ):
        for member in getattr(double, name):
            assert hasattr(getattr(rtx, name), member.name)
    assert {member.name for member in double.ComputeCapability} <= set(rtx.ComputeCapability.__members__)
    assert {member.name for member in tensorrt.DataType} <= set(rtx.DataType.__members__)
    assert {member.name for member in double.ILogger.Severity} == set(rtx.ILogger.Severity.__members__)


def test_cuda_has_the_functions_and_values_that_its_double_has() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    names = [name for name in vars(cuda.CudaDouble) if name.startswith("cuda")]
    assert len(names) > 20
    for name in names:
        double = getattr(cuda.CudaDouble, name)
        real = getattr(runtime, name)
        if isinstance(double, type) and issubclass(double, IntEnum):
            assert all(int(getattr(real, member.name)) == member.value for member in double)
        elif isinstance(double, int):
            assert int(real) == double


def test_onnxruntime_has_the_functions_that_its_double_has() -> None:
    pairs = {
        onnxruntime_cuda.OrtValueDouble: onnxruntime.OrtValue,
        onnxruntime_cuda.BindingDouble: onnxruntime.IOBinding,
        onnxruntime_cuda.SessionDouble: onnxruntime.InferenceSession,
        onnxruntime_cuda.OnnxRuntimeDouble: onnxruntime,
    }
    for double, real in pairs.items():
        assert functions(double) <= set(dir(real))
