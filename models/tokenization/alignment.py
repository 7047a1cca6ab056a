"""Which token comes from which word, and from which characters: what an encoded batch knows beside its columns.

The `tokenizers` library's Encoding objects know it. They are made when somebody asks, since hardly any caller does.
"""

from collections.abc import Callable
from typing import NamedTuple

from tokenizers import Encoding


class CharSpan(NamedTuple):
    """Characters of a text: `text[start:end]`."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a row: `row[start:end]`."""

    start: int
    end: int


class Aligned:
    """The questions that an encoded batch answers by its Encodings, which its `encodings` gives.

    Where a method takes a row and a place in it, a place alone means the first row. A place that there is not, or
    that no word has, such as a special token's, answers None.
    """

    _make_encodings: Callable[[], list[Encoding]] | None = None
    _encodings: list[Encoding] | None = None

    @property
    def encodings(self) -> list[Encoding] | None:
        """The rows as the `tokenizers` library's Encodings; None where the columns were given."""
        if self._encodings is None and self._make_encodings is not None:
            self._encodings = self._make_encodings()
            self._make_encodings = None
        return self._encodings

    @property
    def is_fast(self) -> bool:
        """Whether there are `encodings`."""
        return self._encodings is not None or self._make_encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """How many sequences a row has, 1 or 2; None where there are no `encodings`."""
        return self.encodings[0].n_sequences if self.encodings else None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, the word it is of, counted within its sequence; None for a special token."""
        return self._row(batch_index).word_ids

    words = word_ids  # transformers 4's other name

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, the sequence it is of, 0 or 1; None for a special token."""
        return self._row(batch_index).sequence_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The sequence that a token is of."""
        row, place = self._token(batch_or_token_index, token_index)
        return row.token_to_sequence(place)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token is of."""
        row, place = self._token(batch_or_token_index, token_index)
        found: tuple[int, int] | int | None = row.token_to_word(place)
        return found[1] if isinstance(found, tuple) else found

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters that a token is of."""
        row, place = self._token(batch_or_token_index, token_index)
        found = row.token_to_chars(place)
        return None if found is None else CharSpan(*found)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word."""
        row, place = self._place(batch_or_word_index, word_index)
        found = row.word_to_tokens(place, sequence_index)
        return None if found is None else TokenSpan(*found)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        row, place = self._place(batch_or_word_index, word_index)
        found = row.word_to_chars(place, sequence_index)
        return None if found is None else CharSpan(*found)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that a character is in."""
        row, place = self._place(batch_or_char_index, char_index)
        return row.char_to_token(place, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that a character is in."""
        row, place = self._place(batch_or_char_index, char_index)
        return row.char_to_word(place, sequence_index)

    def _row(self, batch_index: int) -> Encoding:
        if self.encodings is None:
            raise ValueError(
                "words and characters are known where a tokenizer's call encoded one or two texts a row; these columns "
                "were given, padded afterwards, or made of a question, title and text"
            )
        return self.encodings[batch_index]

    def _place(self, first: int, second: int | None) -> tuple[Encoding, int]:
        return (self._row(0), first) if second is None else (self._row(first), second)

    def _token(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """A row, and the place in it of a token, which may be counted from the end."""
        row, place = self._place(first, second)
        return row, place + len(row) if place < 0 else place
