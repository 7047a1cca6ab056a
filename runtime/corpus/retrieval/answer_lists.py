"""Parse the answers in a table of questions: a list of strings as JSON, Python or NumPy prints it.

facebookresearch/DPR's tables have Python's lists: ["Paris", "the city of Paris"]. pandas writes arrays as NumPy prints
them, without commas: ['Paris' 'the city of Paris'], which Python would read as one string.
"""

import ast
import json
import re
import warnings
from contextlib import suppress
from io import StringIO
from itertools import pairwise
from tokenize import OP, STRING, TokenError, generate_tokens
from typing import Any

_ADJACENT = re.compile(r"""['"]\s*[a-zA-Z]{0,2}['"]""")  # two strings, or something within a string


def parse_answers(text: str) -> Any:
    """Return the value of a literal, or NumPy's list of strings; None for anything else.

    >>> parse_answers('["Paris", "France"]'), parse_answers("['Paris' 'France']"), parse_answers("Paris")
    (['Paris', 'France'], ['Paris', 'France'], None)
    """
    with suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(text), list):
            return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d" in a regular expression, where Python keeps the backslash
            value = ast.literal_eval(text.strip())
            return _split_adjacent(text.strip()) if _ADJACENT.search(text) else value
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, TokenError):
        return None


def _split_adjacent(text: str) -> Any:
    """Return the value of a literal; strings with only spaces between them are NumPy's list, or mean nothing."""
    tokens = [token for token in generate_tokens(StringIO(text).readline) if token.type in (STRING, OP)]
    adjacent = [(left, right) for left, right in pairwise(tokens) if left.type == right.type == STRING]
    if not adjacent:
        return ast.literal_eval(text)
    is_numpy = "".join(token.string for token in tokens if token.type == OP) == "[]"
    if not is_numpy or any(left.end == right.start for left, right in adjacent):
        return None
    return [ast.literal_eval(token.string) for token in tokens if token.type == STRING]
