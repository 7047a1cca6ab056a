"""How near a graph's outputs must be to the original's, and the examples kept to check it anywhere.

`golden.npz` holds a few inputs and what the original answered, written at export. With it `dpr-runtime verify` shows
on any machine, and without PyTorch, that the engine there still computes the same model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

ATOL = 1e-4
RTOL = 1e-5


@dataclass(frozen=True, slots=True)
class Example:
    """One call: the graph's inputs, int64 (batch, sequence), and the original's outputs to them, float32."""

    feeds: Arrays
    reference: Arrays

    @property
    def shape(self) -> tuple[int, int]:
        batch, length = next(iter(self.feeds.values())).shape
        return int(batch), int(length)


def allowed_error(reference: NDArray[Any], atol: float = ATOL) -> float:
    """The largest difference that float32's own rounding explains: atol + 1e-5 x max|reference|, which is finite.

    >>> allowed_error(np.array([0.0, -50.0]))
    0.0006
    """
    return round(atol + RTOL * float(np.abs(reference).max(initial=0.0)), 12)


def largest_error(result: NDArray[Any], reference: NDArray[Any]) -> float:
    """The largest absolute difference; infinite where the shapes differ or a number is not finite.

    >>> largest_error(np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    0.5
    """
    if result.shape != reference.shape or not np.isfinite(result).all():
        return float("inf")
    return float(np.abs(result.astype(np.float64) - reference).max(initial=0.0))


def write_golden(path: Path, examples: Sequence[Example]) -> None:
    """Write examples into an .npz file, under the names `INDEX/feeds/NAME` and `INDEX/reference/NAME`."""
    arrays = {
        f"{index}/{part}/{name}": array
        for index, example in enumerate(examples)
        for part, values in (("feeds", example.feeds), ("reference", example.reference))
        for name, array in values.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


def read_golden(path: Path) -> list[Example]:
    """Read the examples back.

    Raises:
        ValueError: the file is damaged, or holds anything but arrays of numbers.
    """
    parts: dict[int, dict[str, Arrays]] = {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            for key in file.files:
                index, part, name = key.split("/")
                parts.setdefault(int(index), {}).setdefault(part, {})[name] = file[key]
        return [_example(parts[index]) for index in sorted(parts)]
    except (ValueError, KeyError, EOFError, OSError, BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _example(parts: Mapping[str, Arrays]) -> Example:
    return Example(parts["feeds"], parts["reference"])
