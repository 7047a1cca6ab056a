"""The two encoders: texts to vectors, and the original's call.

    from dpr_export.runtime import DPRQuestionEncoder
    vectors = DPRQuestionEncoder.from_pretrained("question-onnx").encode(["who wrote hamlet?"])

A text's vector does not depend on the texts beside it: batches only save padding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.kinds import CONTEXT, QUESTION, Kind
from dpr_export.runtime.inference.batching import Rows
from dpr_export.runtime.inference.model import DPRModel
from dpr_export.runtime.inference.progress import progress

Vectors = NDArray[np.float32]
SEGMENTS = ("hf", "dpr")
CHUNK = 256  # texts that are tokenized at a time, while those before them are computed


class _Encoder(DPRModel):
    """The original's call, and the way from tokens to vectors, which both encoders share."""

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        inputs_embeds: Any = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Compute the vectors of tokenized texts, as the original's call does.

        Args:
            input_ids: integers (batch, sequence): a list, a NumPy array, or a torch tensor (then outputs are too); or
                all arguments, as a dictionary or as a list in this order.
            attention_mask: zeros and ones (batch, sequence); None leaves out the padding.
            token_type_ids: integers (batch, sequence); None for zeros.
            inputs_embeds: floats (batch, sequence, hidden) in place of input_ids; of folders exported with
                --inputs-embeds.
            output_attentions, output_hidden_states: whether to return those too; of folders exported with them. None:
                as the configuration says.
            return_dict: False for a plain tuple; None: as the configuration says.

        Returns:
            The output dataclass, with `pooler_output` float32 (batch, dim); or a tuple.

        Raises:
            ValueError: an argument of a wrong type, shape or value; the message names it.
            IndexError: an id outside the vocabulary.
            RuntimeError: the model is closed.
        """
        return self._call(
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
                "inputs_embeds": inputs_embeds,
                "output_attentions": output_attentions,
                "output_hidden_states": output_hidden_states,
                "return_dict": return_dict,
            }
        )

    def _vectors(
        self, rows: Sequence[tuple[str, ...]], segments: str, batch_tokens: int | None, show_progress: bool
    ) -> Vectors:
        """The vector of each row, which is one string or a pair of them."""
        vectors = np.empty((len(rows), self.config.dim), dtype=np.float32)
        chunks = (self.tokenized(first, rows[first : first + CHUNK], segments) for first in range(0, len(rows), CHUNK))
        batches = self._run_rows(chunks, batch_tokens)
        with progress(len(rows), "encode", show_progress) as done:
            for batch, outputs in batches:
                vectors[batch.positions] = outputs["pooler_output"]
                done(len(batch.positions))
        return vectors

    def vectors_of(
        self, windows: Iterable[Rows], batch_tokens: int | None = None, done: Callable[[int], None] = lambda _: None
    ) -> Iterator[Vectors]:
        """Yield the vectors of tokenized rows, window by window; the next windows are drawn meanwhile.

        For work that is too large for `encode`. Only the rows of one window are sorted and run together.

        Args:
            windows: what `tokenized` gave; none is empty.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            done: is told of each batch how many rows it had.

        Yields:
            float32 (rows, dim) for each window, in order.
        """
        waiting: deque[tuple[int, int]] = deque()

        def counted() -> Iterator[Rows]:
            for window in windows:
                waiting.append((window.first, len(window.input_ids)))
                yield window

        first = left = 0
        vectors = np.empty((0, self.config.dim), np.float32)
        for batch, outputs in self._run_rows(counted(), batch_tokens):
            if not left:
                first, left = waiting.popleft()
                vectors = np.empty((left, self.config.dim), np.float32)
            vectors[batch.positions - first] = outputs["pooler_output"]
            done(len(batch.positions))
            left -= len(batch.positions)
            if not left:
                yield vectors

    def tokenized(self, first: int, rows: Sequence[tuple[str, ...]], segments: str = "hf") -> Rows:
        """Tokenize rows for `vectors_of`: each is a text, or a title and a text.

        Args:
            first: how many rows came before these.
            rows: the rows.
            segments: as `DPRContextEncoder.encode` has it.
        """
        limit = min(self.config.max_position_embeddings, self.tokenizer.model_max_length)
        ids: list[list[int]] = [[]] * len(rows)
        types: list[list[int]] = [[]] * len(rows)
        for strings in (1, 2):
            places = [place for place, row in enumerate(rows) if len(row) == strings]
            columns = [[rows[place][column] for place in places] for column in range(strings)]
            encoded = self.tokenizer(*columns, truncation=True, max_length=limit)
            for place, its_ids, its_types in zip(places, encoded["input_ids"], encoded["token_type_ids"], strict=True):
                ids[place], types[place] = its_ids, its_types
        return Rows(first, ids, types if segments == "hf" else None)


class DPRQuestionEncoder(_Encoder):
    """Questions to vectors, on an engine. A drop-in for the class of the same name in transformers."""

    kind: ClassVar[Kind] = QUESTION

    def encode(self, texts: Sequence[str], *, batch_tokens: int | None = None, show_progress: bool = False) -> Vectors:
        """Turn questions into vectors.

        Args:
            texts: the questions; each is cut at the model's length.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            show_progress: draw a progress bar on standard error.

        Returns:
            float32 (n, dim), in the order given; (0, dim) for no texts.

        Raises:
            TypeError: `texts` is one string, or holds something else than strings.
        """
        rows = [(text,) for text in _strings("texts", texts)]
        return self._vectors(rows, "hf", batch_tokens, show_progress)


class DPRContextEncoder(_Encoder):
    """Passages to vectors, on an engine. A drop-in for the class of the same name in transformers."""

    kind: ClassVar[Kind] = CONTEXT

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str | None] | None = None,
        *,
        segments: str = "hf",
        batch_tokens: int | None = None,
        show_progress: bool = False,
    ) -> Vectors:
        """Turn passages into vectors.

        Args:
            texts: the passages; each is cut at the model's length.
            titles: their titles, which stand before them; None for one that has none, or in place of the list.
            segments: "hf" gives the text token type 1, as transformers' tokenizer does; "dpr" gives zeros all along,
                as the first DPR code did, and with it the published indexes of passages.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            show_progress: draw a progress bar on standard error.

        Returns:
            float32 (n, dim), in the order given; (0, dim) for no texts.

        Raises:
            TypeError: `texts` or `titles` is one string, or holds something else than strings.
            ValueError: as many titles as texts are needed; `segments` is unknown.
        """
        if segments not in SEGMENTS:
            raise ValueError(f"segments is {segments!r}, and must be one of: {', '.join(SEGMENTS)}")
        passages = _strings("texts", texts)
        named = [None] * len(passages) if titles is None else _strings("titles", titles, or_none=True)
        if len(named) != len(passages):
            raise ValueError(f"titles has {len(named)} entries and texts {len(passages)}: give as many")
        rows = [(text,) if title is None else (title, text) for title, text in zip(named, passages, strict=True)]
        return self._vectors(rows, segments, batch_tokens, show_progress)


def _strings(name: str, values: Sequence[Any], or_none: bool = False) -> list[Any]:
    if isinstance(values, str):
        raise TypeError(f"{name} is one string: give a list of strings")
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} is of type {type(values).__name__}: give a list of strings")
    strings = list(values)
    for index, value in enumerate(strings):
        if not (isinstance(value, str) or (or_none and value is None)):
            raise TypeError(f"{name}[{index}] is of type {type(value).__name__}, not a string")
    return strings
