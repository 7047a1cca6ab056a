"""Is there an NVIDIA GPU that this process can use, and if not, what is missing?

Asked of the driver itself, through its C interface, because engines either fall back to the CPU without a word or write
pages of their own. Where there is no driver the answer takes microseconds, and nothing is imported for it.
"""

import ctypes
import sys
from functools import cache

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def gpu_problem(index: int) -> str | None:
    """Why GPU number `index` cannot be used, in words; None where it can.

    >>> gpu_problem(10_000) is None
    False
    """
    count, problem = _gpus()
    if problem:
        return problem
    if index >= count:
        return f"device is cuda:{index}, and this machine has {count} GPU{'s' if count > 1 else ''}, from cuda:0"
    return None


def has_context(index: int) -> bool:
    """Whether this process uses GPU number `index` already: making it a thread's device makes a context there."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    flags, active = ctypes.c_uint(), ctypes.c_int()
    error = driver.cuDevicePrimaryCtxGetState(index, ctypes.byref(flags), ctypes.byref(active))
    return not error and bool(active.value)


@cache
def _gpus() -> tuple[int, str | None]:
    """How many GPUs the driver has, and what is wrong where it has none."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0, f"no NVIDIA driver is installed ({_DRIVER} was not found)"
    count = ctypes.c_int(0)
    for function, arguments in ((driver.cuInit, (0,)), (driver.cuDeviceGetCount, (ctypes.byref(count),))):
        if error := function(*arguments):
            return 0, f"the NVIDIA driver finds no GPU that can be used ({_name(driver, error)})"
    if not count.value:
        return 0, "the NVIDIA driver finds no GPU"
    return count.value, None


def _name(driver: ctypes.CDLL, error: int) -> str:
    """The driver's name for an error: CUDA_ERROR_NO_DEVICE."""
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(error, ctypes.byref(text)) or text.value is None:
        return f"error {error}"
    return text.value.decode()
