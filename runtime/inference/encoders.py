"""The two encoders: texts to vectors, and the call as in transformers.

    from dpr_export.runtime import DPRQuestionEncoder
    vectors = DPRQuestionEncoder.from_pretrained("question-onnx").encode(["who wrote hamlet?"])

A text's vector does not depend on the texts beside it: batches only save padding. ONNX Runtime's INT8 is the exception:
it takes the scale of activations from all texts of a batch (see docs/runtime.md).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dpr_export.models.kinds import CONTEXT, QUESTION, Kind
from dpr_export.models.progress import progress
from dpr_export.runtime.inference.batching import TokenizedRows
from dpr_export.runtime.inference.model import DPRModel
from dpr_export.runtime.inference.texts import check_strings, check_titles, encoder_row

Vectors = NDArray[np.float32]
SEGMENTS = ("hf", "dpr")
CHUNK = 256  # how many texts are tokenized at a time, while earlier ones are computed


class _Encoder(DPRModel):
    """What both encoders share: the call, and the way from texts to vectors."""

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
        """Compute the vectors of tokenized texts, with transformers' arguments.

        Args:
            input_ids: integers (batch, sequence): a list, a NumPy array, or a torch tensor (then outputs are too); or
                all arguments, as a dictionary or as a list in this order.
            attention_mask: zeros and ones (batch, sequence); None masks the padding.
            token_type_ids: integers (batch, sequence); None for zeros.
            inputs_embeds: floats (batch, sequence, hidden) in place of input_ids, for folders exported with
                --inputs-embeds.
            output_attentions, output_hidden_states: return them too, for folders exported with them; None: as the
                configuration says.
            return_dict: False for a plain tuple; None: as the configuration says.

        Returns:
            The output dataclass, with `pooler_output` float32 (batch, dim); or a tuple.

        Raises:
            ValueError: an argument of a wrong type, shape or value; the message names it.
            IndexError: an id outside the vocabulary.
            RuntimeError: the model is closed.
        """
        tensors = (input_ids, attention_mask, token_type_ids, inputs_embeds)
        return self._call(tensors, (output_attentions, output_hidden_states, return_dict))

    def _encode(
        self, rows: Sequence[tuple[str, ...]], segments: str, batch_tokens: int | None, show_progress: bool
    ) -> Vectors:
        vectors = np.empty((len(rows), self.config.dim), dtype=np.float32)
        chunks = (self.tokenize(rows[first : first + CHUNK], segments) for first in range(0, len(rows), CHUNK))
        with progress(len(rows), "encode", show_progress) as on_progress:
            for batch, outputs in self.run_rows(chunks, batch_tokens):
                vectors[batch.positions] = outputs["pooler_output"]
                on_progress(len(batch.positions))
        return vectors

    def tokenize(self, rows: Sequence[tuple[str, ...]], segments: str = "hf") -> TokenizedRows:
        """Tokenize rows, each a text, or a title and a text; they are truncated to the model's length.

        Args:
            rows: the rows.
            segments: as in `DPRContextEncoder.encode`.
        """
        ids: list[list[int]] = [[]] * len(rows)
        types: list[list[int]] = [[]] * len(rows)
        for strings in {len(row) for row in rows}:
            places = [place for place, row in enumerate(rows) if len(row) == strings]
            columns = [[rows[place][column] for place in places] for column in range(strings)]
            encoded = self.tokenizer(*columns, truncation=True, max_length=self._max_length)
            for place, row_ids, row_types in zip(places, encoded["input_ids"], encoded["token_type_ids"], strict=True):
                ids[place], types[place] = row_ids, row_types if segments == "hf" else [0] * len(row_ids)
        return TokenizedRows(ids, types)

    def encode_windows(
        self,
        windows: Iterable[TokenizedRows],
        batch_tokens: int | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Iterator[Vectors]:
        """Yield the vectors of tokenized rows, window by window; the next windows are drawn meanwhile.

        For work that is too large for `encode`. Only the rows of one window are sorted and run together.

        Args:
            windows: what `tokenize` returned, at least one row each.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            on_progress: called after each batch with its number of rows.

        Yields:
            float32 (rows, dim) for each window, in order.
        """
        parts: list[tuple[NDArray[np.int64], Vectors]] = []
        for batch, outputs in self.run_rows(windows, batch_tokens):
            parts.append((batch.positions, outputs["pooler_output"]))
            on_progress(len(batch.positions))
            if batch.is_last:
                positions, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
                yield vectors[np.argsort(positions)]
                parts.clear()


class DPRQuestionEncoder(_Encoder):
    """Questions to vectors, on an engine. A drop-in for the class of the same name in transformers."""

    kind: ClassVar[Kind] = QUESTION

    def encode(self, texts: Sequence[str], *, batch_tokens: int | None = None, show_progress: bool = False) -> Vectors:
        """Turn questions into vectors.

        Args:
            texts: the questions; each is truncated to the model's length.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            show_progress: draw a progress bar on standard error.

        Returns:
            float32 (n, dim), in the order given; (0, dim) for no texts.

        Raises:
            TypeError: `texts` is one string or no list (a dictionary, a set, a table), or has an entry that is none.
            ValueError: a text holds half a surrogate pair.
        """
        rows = [(text,) for text in check_strings("texts", texts)]
        return self._encode(rows, "hf", batch_tokens, show_progress)


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
            texts: the passages; each is truncated to the model's length.
            titles: their titles, which come first in a row; None or "" for a passage without one, whose text is encoded
                alone, as in facebookresearch/DPR; None in place of the list if none has one.
            segments: "hf" gives the text token type 1, as transformers' tokenizer does; "dpr" gives 0 everywhere, as
                facebookresearch/DPR did for the published indexes of passages.
            batch_tokens: how many tokens, padding included, one batch may have; None: as many as suit the engine.
            show_progress: draw a progress bar on standard error.

        Returns:
            float32 (n, dim), in the order given; (0, dim) for no texts.

        Raises:
            TypeError: `texts` or `titles` is one string or no list, or has an entry that is no string.
            ValueError: the numbers of titles and texts differ, `segments` is unknown, or a text holds half a surrogate
                pair.
            IndexError: titles need token type 1, which the model has not: give segments="dpr".
        """
        if segments not in SEGMENTS:
            raise ValueError(f"segments is {segments!r}, and must be one of: {', '.join(SEGMENTS)}")
        passages = check_strings("texts", texts)
        named = check_titles("titles", titles, len(passages))
        if len(named) != len(passages):
            raise ValueError(f"titles has {len(named)} entries and texts {len(passages)}: give as many")
        rows = [encoder_row(*passage) for passage in zip(named, passages, strict=True)]
        return self._encode(rows, segments, batch_tokens, show_progress)
