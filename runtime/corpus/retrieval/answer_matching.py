"""Decide whether a passage contains an answer, by facebookresearch/DPR's rule (which is DrQA's).

Both texts are decomposed (NFD), split into tokens, and lower-cased. A token is a run of letters, digits and marks, or
one other character that is neither a space nor a control character. The passage contains the answer if the answer's
tokens occur in it, one after another.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from dpr_export.runtime.corpus.optional_libraries import import_library

_SEPARATOR = "\n"  # a control character, which is in no token


@cache
def _pattern() -> Any:
    return import_library("regex").compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def matching_tokens(text: str) -> str:
    """The tokens of a text, with a separator before, between and after them.

    >>> matching_tokens("Zola's").split()
    ['zola', "'", 's']
    """
    tokens = [token.lower() for token in _pattern().findall(unicodedata.normalize("NFD", text))]
    return _SEPARATOR + "".join(f"{token}{_SEPARATOR}" for token in tokens)


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a text contains one of the answers. As in facebookresearch/DPR, one without tokens is in every text.

    >>> has_answer("It was written by Émile Zola.", ["Émile Zola"])
    True
    """
    tokens = matching_tokens(text)
    return any(matching_tokens(answer) in tokens for answer in answers)
