"""The methods of torch.nn.Module that programs call on a model: its device and dtype, eval(), to()."""

from typing import Any, NoReturn, Self

import numpy as np

from dpr_export.runtime.engines.devices import Device, parse_device
from dpr_export.runtime.engines.session import Session


class LikeModule:
    """A model that stays on the device on which its session was opened."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def device(self) -> Device:
        """The session's device: "cpu", "cuda:0"."""
        return Device(self._session.device)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The type of the outputs: float32, whatever the variant computes in."""
        return np.dtype(np.float32)

    def eval(self) -> Self:
        """Do nothing: an exported model has no training mode."""
        return self

    def to(self, device: Any) -> Self:
        """Do nothing if `device` is the one that the model runs on.

        Raises:
            ValueError: it is another device, or none; a model for another device is loaded with `from_pretrained`.
        """
        if parse_device(device) != parse_device(self.device):
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
            "to load another"
        )
