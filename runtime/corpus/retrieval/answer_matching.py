"""Decide whether a passage contains an answer, by facebookresearch/DPR's rules (which are DrQA's).

"string": both texts are decomposed (NFD), split into tokens, and lower-cased. A token is a run of letters, digits and
marks, or one other character that is neither a space nor a control character. The passage contains the answer if the
answer's tokens occur in it, one after another.

"regex": the answer is a regular expression, as CuratedTREC's are, which is searched in the passage. Both are
decomposed, and upper and lower case are the same. One that is not valid is in no passage.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from dpr_export.runtime.corpus.optional_libraries import import_library

MATCHES = ("string", "regex")
_SEPARATOR = "\n"  # a control character, which is in no token


@cache
def _token_pattern() -> Any:
    return import_library("regex").compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


@lru_cache(maxsize=100_000)  # passages that are retrieved for many questions
def matching_tokens(text: str) -> str:
    """The tokens of a text, with a separator before, between and after them.

    >>> matching_tokens("Zola's").split()
    ['zola', "'", 's']
    """
    tokens = [token.lower() for token in _token_pattern().findall(_decompose(text))]
    return _SEPARATOR + "".join(f"{token}{_SEPARATOR}" for token in tokens)


def make_matcher(answers: Sequence[str], match: str = "string") -> Callable[[str], bool]:
    """Return a function that tells whether a text contains one of the answers.

    As in facebookresearch/DPR, an answer without tokens is in every text.

    >>> contains = make_matcher(["Émile Zola"])
    >>> contains("It was written by Émile Zola."), make_matcher([r"18[67]\\d"], "regex")("born in 1870")
    (True, True)
    """
    check_match(match)
    if match == "string":
        tokens = [matching_tokens(answer) for answer in answers]
        return lambda text: any(each in matching_tokens(text) for each in tokens)
    patterns = _compile_valid(answers)
    return lambda text: any(pattern.search(_decompose(text)) for pattern in patterns)


def has_answer(text: str, answers: Sequence[str], match: str = "string") -> bool:
    """Whether a text contains one of the answers.

    >>> has_answer("It was written by Émile Zola.", ["Émile Zola"])
    True
    """
    return make_matcher(answers, match)(text)


def begins_with_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers, which are regular expressions, matches a text from its start: DrQA's exact match.

    >>> begins_with_answer("Leonov", ["(Alexei )?Leonov"]), begins_with_answer("cosmonaut Leonov", ["Leonov"])
    (True, False)
    """
    return any(pattern.match(_decompose(text)) for pattern in _compile_valid(answers))


def invalid_answers(answers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each answer that is no valid regular expression, and why."""
    return ((answer, found) for answer in answers if isinstance(found := _compile(answer), str))


def check_match(match: str) -> None:
    """Check that a rule is one of MATCHES."""
    if match not in MATCHES:
        raise ValueError(f"match is {match!r}, and must be one of: {', '.join(MATCHES)}")


def _compile_valid(answers: Sequence[str]) -> list[Any]:
    return [pattern for pattern in map(_compile, answers) if not isinstance(pattern, str)]


def _compile(answer: str) -> Any:
    """The pattern of a regular expression, or what is wrong with it."""
    regex = import_library("regex")
    try:
        return regex.compile(_decompose(answer), regex.IGNORECASE | regex.UNICODE | regex.MULTILINE)
    except (regex.error, OverflowError, RecursionError) as error:
        return str(error)


def _decompose(text: str) -> str:
    return unicodedata.normalize("NFD", text)
