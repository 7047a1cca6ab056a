"""Ask the NVIDIA driver which GPUs this process can use, and what is missing if there are none.

If no driver is installed, the answer takes microseconds. Otherwise a short-lived process asks the driver, because a
process that has started CUDA cannot fork children that use CUDA.
"""

import ctypes
import json
import subprocess
import sys
from functools import cache

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def gpu_problem(index: int) -> str | None:
    """Why GPU number `index` cannot be used, in words; None if it can.

    >>> gpu_problem(10_000) is None
    False
    """
    capabilities, problem = _gpus()
    if problem:
        return problem
    if index >= len(capabilities):
        gpus = "1 GPU" if len(capabilities) == 1 else f"{len(capabilities)} GPUs"
        return f"device is cuda:{index}, and this machine has {gpus}, from cuda:0"
    return None


def compute_capability(index: int) -> str:
    """The compute capability of a GPU for which `gpu_problem` is None: "8.9"."""
    return _gpus()[0][index]


def has_context(index: int) -> bool:
    """Whether this process has a CUDA context on GPU number `index`."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    flags, active = ctypes.c_uint(), ctypes.c_int()
    error = driver.cuDevicePrimaryCtxGetState(index, ctypes.byref(flags), ctypes.byref(active))
    return not error and bool(active.value)


@cache
def _gpus() -> tuple[tuple[str, ...], str | None]:
    """The compute capability of each GPU, and what is wrong where there is none."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return (), f"no NVIDIA driver is installed ({_DRIVER} was not found)"
    if getattr(sys, "frozen", False) or not sys.executable:  # no interpreter to start
        return ask_driver()
    done = subprocess.run([sys.executable, "-I", "-S", __file__], capture_output=True, text=True, check=False)
    if done.returncode:
        return (), f"the NVIDIA driver ended the process that asked it for GPUs (exit code {done.returncode})"
    capabilities, problem = json.loads(done.stdout)
    return tuple(capabilities), problem


def ask_driver() -> tuple[tuple[str, ...], str | None]:
    """As `_gpus`, asked in this process, where it starts CUDA."""
    driver, count, number = ctypes.CDLL(_DRIVER), ctypes.c_int(0), ctypes.c_int()
    for function, arguments in ((driver.cuInit, (0,)), (driver.cuDeviceGetCount, (ctypes.byref(count),))):
        if error := function(*arguments):
            return (), f"the NVIDIA driver finds no GPU that can be used ({_error_name(driver, error)})"
    if not count.value:
        return (), "the NVIDIA driver finds no GPU"

    def attribute(which: int, index: int) -> int:
        driver.cuDeviceGetAttribute(ctypes.byref(number), which, index)
        return number.value

    return tuple(f"{attribute(_MAJOR, index)}.{attribute(_MINOR, index)}" for index in range(count.value)), None


def _error_name(driver: ctypes.CDLL, error: int) -> str:
    """The driver's name for an error: CUDA_ERROR_NO_DEVICE."""
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(error, ctypes.byref(text)) or text.value is None:
        return f"error {error}"
    return text.value.decode()


if __name__ == "__main__":
    print(json.dumps(ask_driver()))
