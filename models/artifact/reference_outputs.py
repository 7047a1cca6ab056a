"""Read and write the reference outputs of an exported folder, and compute the tolerance of a parity check.

`reference_outputs.npz` holds a few inputs and the outputs of transformers for them, written at export. With it,
`dpr-runtime verify` checks an engine on any machine without PyTorch.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

ATOL = 1e-4
RTOL = 1e-5


@dataclass(frozen=True, slots=True)
class Example:
    """One call: the inputs of a graph, and the outputs of transformers for them.

    Attributes:
        feeds: int64 (batch, sequence), by input name. In place of input_ids there may be inputs_embeds, float32
            (batch, sequence, hidden).
        reference: float32, by output name.
    """

    feeds: Arrays
    reference: Arrays

    @property
    def shape(self) -> tuple[int, int]:
        batch, length = self.feeds["attention_mask"].shape
        return int(batch), int(length)


def tolerance_for(reference: NDArray[Any], atol: float = ATOL) -> float:
    """Return the largest error that float32 rounding explains in an output: atol + 1e-5 x max|reference|.

    >>> tolerance_for(np.array([0.0, -50.0]))
    0.0006
    """
    return round(atol + RTOL * float(np.abs(reference).max(initial=0.0)), 12)


def largest_error(result: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the largest absolute difference; infinity if the shapes differ or a number is not finite.

    >>> largest_error(np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    0.5
    """
    if result.shape != reference.shape or not np.isfinite(result).all():
        return float("inf")
    return float(np.abs(result.astype(np.float64) - reference).max(initial=0.0))


def write_reference_outputs(path: Path, examples: Sequence[Example]) -> None:
    """Write examples to an .npz file, as arrays named `INDEX/feeds/NAME` and `INDEX/reference/NAME`."""
    arrays = {
        f"{index}/{part}/{name}": array
        for index, example in enumerate(examples)
        for part, values in (("feeds", example.feeds), ("reference", example.reference))
        for name, array in values.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


def read_reference_outputs(path: Path) -> list[Example]:
    """Read the examples that `write_reference_outputs` wrote.

    Raises:
        ValueError: the file is damaged, or holds other things than arrays of numbers.
    """
    parts: dict[int, dict[str, Arrays]] = {}
    try:
        with path.open("rb") as stream:
            _refuse_bomb(stream)
            with np.load(stream, allow_pickle=False) as file:
                for key in file.files:
                    index, part, name = key.split("/")
                    parts.setdefault(int(index), {}).setdefault(part, {})[name] = array = file[key]
                    if array.dtype.kind not in "iuf":
                        raise ValueError(f"{name} is of type {array.dtype}, which holds no numbers")
        examples = [Example(**parts[index]) for index in sorted(parts)]
        _ = [example.shape for example in examples]  # raises here if an attention_mask is missing
        return examples
    except Exception as error:  # zipfile and NumPy raise many kinds of errors on a damaged archive
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def _refuse_bomb(stream: BinaryIO) -> None:
    """Refuse an archive whose arrays take more memory than the file has bytes, because np.savez does not compress."""
    with ZipFile(stream) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != ZIP_STORED for entry in entries):
        raise ValueError("its arrays are compressed, and np.savez compresses none")
    if sum(entry.file_size for entry in entries) > stream.seek(0, os.SEEK_END):
        raise ValueError("its arrays are larger than the file")
    stream.seek(0)


def select_examples(examples: Sequence[Example], tokens: str) -> list[Example]:
    """Return the examples for graphs whose first input is `tokens`, "input_ids" or "inputs_embeds"."""
    return [example for example in examples if tokens in example.feeds]
