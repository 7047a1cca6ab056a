"""An array of a library of the array API standard on a GPU, as far as one is used; its numbers are in the machine."""

import numpy as np

from dpr_export.runtime.engines.nvidia.dlpack import CPU, CUDA, DeviceArray


class GpuArray:
    def __init__(self, numbers: np.ndarray, device: tuple[int, int] = (CUDA, 0)) -> None:
        self.numbers, self.device = numbers, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **how: object) -> object:
        assert how["dl_device"] == (CPU, 0), "the array was not asked to come to the CPU"
        return self.numbers.__dlpack__()

    def __array_namespace__(self) -> type["GpuArray"]:
        return GpuArray

    @staticmethod
    def from_dlpack(source: DeviceArray) -> np.ndarray:
        """What the library would take over: here as NumPy's, for as long as the source lives."""
        assert source.__dlpack_device__()[0] == CUDA
        return np.from_dlpack(DeviceArray(source.address, source.shape, (CPU, 0), lambda _: source))
