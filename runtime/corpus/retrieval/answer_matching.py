"""Whether a passage holds an answer, by the first DPR code's rule (itself from DrQA).

Both are decomposed (NFD), split into runs of letters, digits and marks, and single other characters that are neither
spaces nor control characters, and lower-cased; the answer's tokens must follow each other in the passage's.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from dpr_export.runtime.corpus.optional_libraries import needed

_END = "\n"  # a control character, which no token holds


@cache
def _pattern() -> Any:
    return needed("regex").compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def matching_tokens(text: str) -> str:
    """A text's tokens, with the same character before, between and after them.

    >>> matching_tokens("Zola's").split()
    ['zola', "'", 's']
    """
    tokens = [token.lower() for token in _pattern().findall(unicodedata.normalize("NFD", text))]
    return _END + "".join(f"{token}{_END}" for token in tokens)


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a text holds one of some answers; one without tokens is in every text, as the first code has it.

    >>> has_answer("It was written by Émile Zola.", ["Émile Zola"])
    True
    """
    tokens = matching_tokens(text)
    return any(matching_tokens(answer) in tokens for answer in answers)
