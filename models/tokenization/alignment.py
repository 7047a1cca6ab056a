"""Which word and which characters each token of an encoded batch comes from.

The Encodings of the `tokenizers` library know this. They are built on first use, because most callers never ask.
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
    """The methods of an encoded batch that map between tokens, words and characters.

    Each takes a row and an index in it; an index alone refers to the first row. The result is None for an index that
    does not exist or belongs to no word, such as that of a special token.
    """

    _make_encodings: Callable[[], list[Encoding]] | None = None
    _encodings: list[Encoding] | None = None

    @property
    def encodings(self) -> list[Encoding] | None:
        """The rows as Encodings of the `tokenizers` library; None for a batch that no tokenizer call made."""
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
        """The number of sequences in a row, 1 or 2; None without `encodings`."""
        return self.encodings[0].n_sequences if self.encodings else None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row."""
        return self._row(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the word of each token of a row, counted within its sequence; None for a special token."""
        return self._row(batch_index).word_ids

    words = word_ids  # its other name in transformers 4

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the sequence of each token of a row, 0 or 1; None for a special token."""
        return self._row(batch_index).sequence_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return the sequence of a token."""
        row, index = self._locate_token(batch_or_token_index, token_index)
        return row.token_to_sequence(index)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return the word of a token."""
        row, index = self._locate_token(batch_or_token_index, token_index)
        word: tuple[int, int] | int | None = row.token_to_word(index)
        return word[1] if isinstance(word, tuple) else word

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """Return the characters of a token."""
        row, index = self._locate_token(batch_or_token_index, token_index)
        span = row.token_to_chars(index)
        return span and CharSpan(*span)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Return the tokens of a word."""
        row, index = self._locate(batch_or_word_index, word_index)
        span = row.word_to_tokens(index, sequence_index)
        return span and TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Return the characters of a word."""
        row, index = self._locate(batch_or_word_index, word_index)
        span = row.word_to_chars(index, sequence_index)
        return span and CharSpan(*span)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the token of a character."""
        row, index = self._locate(batch_or_char_index, char_index)
        return row.char_to_token(index, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the word of a character."""
        row, index = self._locate(batch_or_char_index, char_index)
        return row.char_to_word(index, sequence_index)

    def _row(self, batch_index: int) -> Encoding:
        if self.encodings is None:
            raise ValueError(
                "words and characters are known where a tokenizer's call encoded one or two texts a row; these columns "
                "were given, padded afterwards, or made of a question, title and text"
            )
        return self.encodings[batch_index]

    def _locate(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """Return a row and the index in it."""
        return (self._row(0), first) if second is None else (self._row(first), second)

    def _locate_token(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """Return a row and the index of a token, which may count from the end."""
        row, index = self._locate(first, second)
        return row, index + len(row) if index < 0 else index
