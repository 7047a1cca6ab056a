"""Memory that other libraries take over: their arrays are our memory, and it lives as long as they do."""

import gc
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.models.torch_interop import import_dlpack, is_on_gpu, to_numpy
from dpr_export.runtime.engines.nvidia.dlpack import CPU, CUDA, DeviceArray
from tests.doubles.arrays import GpuArray

# The CPU is a device too: what numpy and torch read there shows that the structure is right.


class Memory:
    """Some numbers, and how often they were freed."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.numbers = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
        self.freed: list[int] = []

    def array(self, device: tuple[int, int] = (CPU, 0)) -> DeviceArray:
        return DeviceArray(self.numbers.ctypes.data, self.numbers.shape, device, self.freed.append)


@given(st.lists(st.integers(1, 5), max_size=4).map(tuple))
def test_numpy_and_torch_read_the_memory_itself(shape: tuple[int, ...]) -> None:
    memory = Memory(shape)
    tensor, array = torch.from_dlpack(memory.array()), np.from_dlpack(memory.array())
    assert np.array_equal(tensor.numpy(), memory.numbers)
    assert np.array_equal(array, memory.numbers)
    assert tensor.shape == array.shape == shape
    assert tensor.dtype == torch.float32
    memory.numbers += 1
    assert np.array_equal(tensor.numpy(), memory.numbers)
    assert tensor.data_ptr() == memory.numbers.ctypes.data


def test_memory_is_freed_once_when_the_last_array_of_it_is_gone() -> None:
    memory = Memory((2, 3))
    source = memory.array()
    whole = torch.from_dlpack(source)
    row, other = whole[1], np.from_dlpack(source)
    del source, whole
    gc.collect()
    assert memory.freed == []
    del row
    gc.collect()
    assert memory.freed == []
    del other
    gc.collect()
    assert memory.freed == [memory.numbers.ctypes.data]


def test_memory_whose_capsule_was_never_consumed_is_freed_with_the_capsule_and_no_sooner() -> None:
    memory, other = Memory((2,)), Memory((3,))
    capsule = memory.array().__dlpack__(stream=None, max_version=(1, 0))
    kept = torch.from_dlpack(other.array())
    gc.collect()
    assert (memory.freed, other.freed) == ([], [])
    held = [capsule]
    del capsule
    torch.from_dlpack(other.array())
    gc.collect()
    assert memory.freed == []
    held.clear()
    assert memory.freed == [memory.numbers.ctypes.data]
    assert len(other.freed) == 1
    del kept
    gc.collect()
    assert len(other.freed) == 2


def test_a_consumer_that_refuses_keeps_its_own_error_and_nothing_is_left_allocated() -> None:
    memory = Memory((2,))
    with pytest.raises((BufferError, RuntimeError), match=r"(?i)device"):
        np.from_dlpack(memory.array((CUDA, 0)))
    gc.collect()
    assert len(memory.freed) == 1


def test_the_device_is_in_the_capsule() -> None:
    memory = Memory((2, 2))
    capsule = memory.array((CUDA, 3)).__dlpack__()
    with pytest.raises((AssertionError, RuntimeError), match=r"(?i)cuda"):  # torch has none here, or no fourth
        torch.utils.dlpack.from_dlpack(capsule)


@pytest.mark.ci
@pytest.mark.parametrize("place", ["torch", "sys", "builtins"])
def test_an_array_may_outlive_everything_when_the_program_ends(place: str) -> None:
    program = f"""if True:
        import builtins, sys, numpy, torch
        from dpr_export.runtime.engines.nvidia.dlpack import CPU, DeviceArray
        numbers = builtins.numbers = numpy.zeros(4, numpy.float32)
        {place}.kept = torch.from_dlpack(DeviceArray(numbers.ctypes.data, (4,), (CPU, 0), lambda _: None))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_array_on_a_gpu_is_known_and_copied_to_the_cpu_to_be_read() -> None:
    ids = GpuArray(np.array([[1, 2]]))
    assert is_on_gpu(ids)
    assert to_numpy(ids).tolist() == [[1, 2]]
    assert not is_on_gpu(np.zeros(2))
    assert not is_on_gpu(torch.zeros(2))
    assert not is_on_gpu([[1]])
    assert not is_on_gpu(GpuArray(np.zeros(1), (CPU, 0)))


@pytest.mark.parametrize("shape", [(3, 2), (3, 4), (1, 1)])
def test_what_is_taken_over_is_the_corner_that_is_meant(shape: tuple[int, int]) -> None:
    memory = Memory((3, 4))
    taken = import_dlpack(memory.array((CUDA, 1)), shape, GpuArray(np.zeros(1)))
    assert np.array_equal(taken, memory.numbers[: shape[0], : shape[1]])
    tensor = import_dlpack(memory.array(), shape, torch.zeros(1))
    assert np.array_equal(tensor.numpy(), memory.numbers[: shape[0], : shape[1]])
    assert tensor.is_contiguous()
