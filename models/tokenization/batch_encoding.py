"""The input and the output of a tokenizer's call: checked texts, and the encoded batch."""

from collections import UserDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from dpr_export.models.tokenization.alignment import Aligned
from dpr_export.models.torch_interop import is_torch, to_numpy, to_torch


class BatchEncoding(Aligned, UserDict[str, Any]):
    """The columns of an encoded batch, each a list of rows, or an array or tensor (rows, sequence).

    A single text gives one plain row for each column instead, unless arrays were requested.

    >>> encoding = BatchEncoding({"input_ids": [[101, 102]], "attention_mask": [[1, 1]]}, tensor_type="np")
    >>> encoding.input_ids.shape, sorted(encoding)
    ((1, 2), ['attention_mask', 'input_ids'])
    """

    def __init__(
        self,
        data: Any = None,
        tensor_type: str | None = None,
        make_encodings: Callable[[], list[Encoding]] | None = None,
    ) -> None:
        super().__init__(data)
        self._make_encodings = make_encodings
        self.convert_to_tensors(tensor_type)

    def __getitem__(self, item: Any) -> Any:
        """Return the column `item`; for an integer or a slice, the `encodings` of those rows.

        Without `encodings`, a slice gives a dictionary with those rows of every column.

        Raises:
            KeyError: no such column, or an integer without `encodings`.
        """
        if isinstance(item, str):
            return self.data[item]
        if self.encodings is not None:
            return self.encodings[item]
        if isinstance(item, slice):
            return {name: column[item] for name, column in self.data.items()}
        raise KeyError(f"{item!r} is no column: take a column first, as in encoding['input_ids'][{item!r}]")

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "_encodings": self.encodings}

    def __getattr__(self, name: str) -> Any:
        # Pickle and copy look up special methods before `data` exists.
        if name != "data" and name in self.__dict__.get("data", ()):
            return self.data[name]
        raise AttributeError(f"{type(self).__name__} has no column {name!r}")

    def convert_to_tensors(self, tensor_type: str | None = None) -> "BatchEncoding":
        """Convert every column to a NumPy array ("np") or a torch tensor ("pt"), in place; None has no effect.

        Raises:
            ValueError: another type is requested, or rows differ in length.
        """
        if tensor_type is None:
            return self
        if tensor_type not in ("np", "pt"):
            raise ValueError(
                f'return_tensors is {tensor_type!r}, but must be "np", "pt" or None: the models take NumPy arrays and '
                "torch tensors"
            )
        for name, column in self.data.items():
            array = _stack(name, column)
            self.data[name] = to_torch(array) if tensor_type == "pt" else array
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> "BatchEncoding":
        """Move the torch tensors to a device, in place; lists and arrays do not change.

        >>> BatchEncoding({"input_ids": [[101, 102]]}).to("cpu")
        {'input_ids': [[101, 102]]}
        """
        for name, column in self.data.items():
            if is_torch(column):
                self.data[name] = column.to(device=device, non_blocking=non_blocking)
        return self


def _stack(name: str, column: Any) -> NDArray[Any]:
    lengths = {len(row) for row in column if isinstance(row, list | tuple | np.ndarray)}
    if len(lengths) > 1:
        raise ValueError(
            f"{name} has rows of {min(lengths)} to {max(lengths)} tokens, which make no array: "
            "give padding=True (and truncation=True with max_length to bound them)"
        )
    if not is_torch(column) and len(column) == 0:
        return np.zeros((0, 0), np.int64)
    array = to_numpy(column)
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" or array.size == 0 else array


def _check_text(where: str, text: Any) -> None:
    """Raise a ValueError that names the argument unless `text` is a string that can be written as UTF-8."""
    if not isinstance(text, str):
        raise ValueError(f"{where} is of type {type(text).__name__}, but must be a string")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} holds half a surrogate pair, {text[error.start]!r}, at position {error.start}, which is no "
            "character: read the text again as UTF-8"
        ) from None


def sequences(text: Any, text_pair: Any, batched: bool, words: bool) -> tuple[list[Any], list[Any] | None]:
    """Check the texts of a call, and return the first sequences and the second ones, or None for no second ones.

    Args:
        text, text_pair: as in the call.
        batched: whether `text` is a list of texts.
        words: whether each text is a list of words.

    Raises:
        ValueError: a text is no string or holds a lone surrogate, or there are more of one than of the other.
        TypeError: `text` is a list of texts and `text_pair` a single one.

    >>> sequences(["what is love"], ["a song"], batched=True, words=False)
    (['what is love'], ['a song'])
    >>> sequences([("what is love", "a song")], None, batched=True, words=False)
    (['what is love'], ['a song'])
    """
    if batched and isinstance(text_pair, str):
        raise TypeError("text is a list, so text_pair must be a list of the same length, but is a string")
    if batched and text_pair is None and len(text) and all(_is_pair(row, words) for row in text):
        text, text_pair = ([row[side] for row in text] for side in (0, 1))
    if batched and text_pair is not None and len(text) != len(text_pair):
        raise ValueError(f"text has {len(text)} entries, but text_pair has {len(text_pair)}")
    if text_pair is None or not (batched or text_pair):
        return check_texts("text", text, batched, words), None
    return check_texts("text", text, batched, words), check_texts("text_pair", text_pair, batched, words)


def _is_pair(row: Any, words: bool) -> bool:
    """Return whether a row is two texts, rather than one text as a list of words."""
    if not isinstance(row, list | tuple) or len(row) != 2:
        return False
    return all(isinstance(side, list | tuple) for side in row) if words else True


def check_texts(name: str, texts: Any, batched: bool, words: bool = False) -> list[Any]:
    """Return a column of texts as a list, or raise a ValueError that names the first one that is no text."""
    rows = list(texts) if batched else [texts]
    for number, row in enumerate(rows):
        where = f"{name}[{number}]" if batched else name
        if not words:
            _check_text(where, row)
            continue
        if not isinstance(row, list | tuple):
            raise ValueError(f"{where} is of type {type(row).__name__}, but is_split_into_words needs a list of words")
        for position, word in enumerate(row):
            _check_text(f"{where}[{position}]", word)
    return rows
