"""Read passages and texts from files that people have: JSON lines, or one text a line."""

import json
from collections.abc import Iterable
from typing import NamedTuple


class Passage(NamedTuple):
    """A passage: its title, which may be empty, and its text."""

    title: str
    text: str


def read_passages(lines: Iterable[str], name: str) -> list[Passage]:
    """Read JSON lines with the fields `text` and, if there is one, `title`. Empty lines are skipped.

    Args:
        lines: the file's lines.
        name: the file's name, for errors.

    Raises:
        ValueError: a line is no such object; the message gives its number.

    >>> read_passages(['{"title": "Hamlet", "text": "A play."}'], "plays.jsonl")
    [Passage(title='Hamlet', text='A play.')]
    """
    passages = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}, is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"{name}, line {number}, is no JSON object with the fields title and text")
        title, text = value.get("title") or "", value.get("text")
        if not isinstance(text, str) or not isinstance(title, str):
            raise ValueError(f'{name}, line {number}, needs the string "text", and "title" must be a string too')
        passages.append(Passage(title, text))
    return passages
