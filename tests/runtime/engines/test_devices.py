"""Names of devices, and what is wrong where there is no GPU."""

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia import driver as nvidia
from dpr_export.runtime.engines.nvidia.driver import ask_driver, compute_capability, gpu_problem


@pytest.mark.parametrize(("name", "expected"), [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:12", ("cuda", 12))])
def test_a_name_is_a_kind_and_a_number(name: str, expected: tuple[str, int]) -> None:
    assert parse_device(name) == expected


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:1.0", "cuda:²", "cpu:0", "cuda :0", None, 0]
)
def test_any_other_name_is_refused_with_what_there_is(name: object) -> None:
    with pytest.raises(ValueError, match=r"^device is .*, and must be one of: cpu, cuda, cuda:0, cuda:1, \.\.\.$"):
        parse_device(name)


def test_cuda_is_the_first_gpu() -> None:
    assert parse_device("cuda") == parse_device("cuda:0") != parse_device("cuda:1")


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

    def attribute(reference: object, which: int, index: int) -> int:
        reference._obj.value = {75: 8, 76: 6 + index}[which]
        return 0

    def install(count: int = 0, error: int = 0, *, missing: bool = False) -> None:
        nvidia._gpus.cache_clear()

        def load(_: str) -> SimpleNamespace:
            if missing:
                raise OSError("no such file")
            return SimpleNamespace(
                cuInit=lambda _: error,
                cuDeviceGetCount=count_of(count),
                cuGetErrorName=name_of,
                cuDeviceGetAttribute=attribute,
            )

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(
            subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=json.dumps(ask_driver()))
        )

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


def test_a_gpu_has_a_compute_capability(driver: Callable[..., None]) -> None:
    driver(count=2)
    assert [compute_capability(0), compute_capability(1)] == ["8.6", "8.7"]


DRIVER_THAT_NOTES_WHO_STARTS_IT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int cuInit(unsigned flags) {
    FILE* file = fopen(getenv("NOTES"), "a");
    fprintf(file, "%d\n", getpid());
    return fclose(file);
}
int cuDeviceGetCount(int* count) { *count = getenv("CRASH") ? *(int*)0 : 1; return 0; }
int cuDeviceGetAttribute(int* value, int which, int index) { *value = which == 75 ? 9 : 0; return 0; }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler here")
def test_whoever_only_asks_does_not_start_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has started it cannot fork children that use it."""
    (tmp_path / "driver.c").write_text(DRIVER_THAT_NOTES_WHO_STARTS_IT)
    library, notes = tmp_path / "libcuda.so.1", tmp_path / "notes"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "driver.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setattr(nvidia, "_DRIVER", str(library))
    nvidia._gpus.cache_clear()
    assert gpu_problem(0) is None
    assert compute_capability(0) == "9.0"
    (started_by,) = notes.read_text().split()
    assert int(started_by) != os.getpid()
    monkeypatch.setenv("CRASH", "1")
    nvidia._gpus.cache_clear()
    assert gpu_problem(0) == "the NVIDIA driver ended the process that asked it for GPUs (exit code -11)"
    nvidia._gpus.cache_clear()
