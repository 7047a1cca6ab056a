"""What programs written for PyTorch ask of a model that is a torch.nn.Module: where it is, and to be moved there."""

from typing import Any, NoReturn, Self

import numpy as np

from dpr_export.runtime.engines.devices import Device, parse_device, same_device
from dpr_export.runtime.engines.session import Session


class LikeModule:
    """A model that stays on the device on which its session was opened."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def device(self) -> Device:
        """Where the session runs: "cpu", "cuda:0"."""
        return Device(self._session.device)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of the outputs: float32, whatever the variant computes in."""
        return np.dtype(np.float32)

    def eval(self) -> Self:
        """Nothing to do: an exported model has no training mode. Kept for programs that call it."""
        return self

    def to(self, device: Any) -> Self:
        """Nothing to do where `device` is the one the model runs on.

        Raises:
            ValueError: another device, where the model must be loaded instead; or no device at all.
        """
        parse_device(device)
        if not same_device(device, self.device):
            raise ValueError(f'this model runs on {self.device}: load it with from_pretrained(..., device="{device}")')
        return self

    def cpu(self) -> Self:
        """As `to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> Self:
        """As `to("cuda:N")`."""
        return self.to(f"cuda:{device}")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} runs on an engine, which can be neither pickled nor copied: call from_pretrained "
            "where another is needed"
        )
