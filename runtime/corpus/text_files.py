"""Read passages and texts from files that people have: JSON lines, or one text a line."""

import errno
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TextIO


class Passage(NamedTuple):
    """A passage: its title, None where it has none, and its text."""

    title: str | None
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
    for number, value in json_objects(lines, name):
        title, text = value.get("title"), value.get("text")
        if not isinstance(text, str) or not isinstance(title, str | None):
            raise ValueError(f'{name}, line {number}, needs the string "text", and "title" must be a string too')
        passages.append(Passage(title, text))
    return passages


def json_objects(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the object of each JSON line, with the line's number. Empty lines are skipped.

    Raises:
        ValueError: a line is no JSON object; the message gives its number.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}, line {number}, is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"{name}, line {number}, is no JSON object")
        yield number, value


def _standard_input() -> AbstractContextManager[TextIO]:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    return nullcontext(sys.stdin)


@contextmanager
def opened(file: str) -> Iterator[TextIO]:
    """Open a file of UTF-8 text, with or without a byte-order mark; - is standard input.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not UTF-8; the message names it.
    """
    try:
        stream = _standard_input() if file == "-" else Path(file).open(encoding="utf-8-sig")  # noqa: SIM115
    except OSError as error:
        raise OSError(f"{file} cannot be read: {error.strerror}") from None
    with stream as lines:
        try:
            yield lines
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from None
