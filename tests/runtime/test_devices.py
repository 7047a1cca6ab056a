"""Names of devices, and what is wrong where there is no GPU."""

import ctypes
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from dpr_export.runtime.engines.devices import parse_device, same_device
from dpr_export.runtime.engines.nvidia import driver as nvidia
from dpr_export.runtime.engines.nvidia.driver import gpu_problem


@pytest.mark.parametrize(("name", "expected"), [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:12", ("cuda", 12))])
def test_a_name_is_a_kind_and_a_number(name: str, expected: tuple[str, int]) -> None:
    assert parse_device(name) == expected


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:1.0", "cuda:²", "cpu:0", "cuda :0", None, 0]
)
def test_any_other_name_is_refused_with_what_there_is(name: object) -> None:
    with pytest.raises(ValueError, match=r"^device is .*, and must be one of: cpu, cuda, cuda:0, cuda:1, \.\.\.$"):
        parse_device(name)
    assert not same_device(name, "cpu")


def test_cuda_is_the_first_gpu() -> None:
    assert same_device("cuda", "cuda:0")
    assert not same_device("cuda:1", "cuda")
    assert not same_device("cpu", "cuda")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that installs a driver: its GPUs, and the error its start gives."""

    def count_of(count: int) -> Callable[[object], int]:
        def function(reference: object) -> int:
            reference._obj.value = count  # what ctypes.byref was given
            return 0

        return function

    def name_of(_: int, reference: object) -> int:
        reference._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0

    def install(count: int = 0, error: int = 0, *, missing: bool = False) -> None:
        nvidia._gpus.cache_clear()

        def load(_: str) -> SimpleNamespace:
            if missing:
                raise OSError("no such file")
            return SimpleNamespace(cuInit=lambda _: error, cuDeviceGetCount=count_of(count), cuGetErrorName=name_of)

        monkeypatch.setattr(ctypes, "CDLL", load)

    yield install
    nvidia._gpus.cache_clear()


def test_without_a_driver_the_problem_names_it(driver: Callable[..., None]) -> None:
    driver(missing=True)
    assert gpu_problem(0) == f"no NVIDIA driver is installed ({nvidia._DRIVER} was not found)"


def test_a_driver_that_does_not_start_gives_its_own_name_for_why(driver: Callable[..., None]) -> None:
    driver(error=100)
    assert gpu_problem(0) == "the NVIDIA driver finds no GPU that can be used (CUDA_ERROR_NO_DEVICE)"


def test_a_driver_without_gpus_says_so(driver: Callable[..., None]) -> None:
    driver(count=0)
    assert gpu_problem(0) == "the NVIDIA driver finds no GPU"


def test_a_gpu_that_is_there_has_no_problem_and_one_past_the_last_has(driver: Callable[..., None]) -> None:
    driver(count=2)
    assert gpu_problem(0) is None
    assert gpu_problem(1) is None
    assert gpu_problem(2) == "device is cuda:2, and this machine has 2 GPUs, from cuda:0"
    driver(count=1)
    assert gpu_problem(1) == "device is cuda:1, and this machine has 1 GPU, from cuda:0"
