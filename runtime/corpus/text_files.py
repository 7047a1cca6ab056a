"""Read UTF-8 text files, plain or gzip: line by line, as JSON, as JSON lines. table.py reads tables.

The parsers yield each row's number with its value, or with a sentence on what is wrong with it, for `valid_rows`.
"""

import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, cast

from dpr_export.models.artifact.git_lfs import check_no_pointer

LONGEST_LINE = 1 << 24  # characters
_Value = TypeVar("_Value")


@contextmanager
def open_binary(file: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes; "-" is standard input, which stays open."""
    if str(file) == "-":
        if sys.stdin is None:
            raise OSError("standard input is closed")
        # Below its buffer, whose lock would keep Python from ending while a thread waits for more.
        yield cast(BinaryIO, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
        return
    try:
        check_no_pointer(Path(file))
        opened = Path(file).open("rb")  # noqa: SIM115
    except IsADirectoryError:
        raise IsADirectoryError(f"{file} is a folder: give a file") from None
    except OSError as error:
        raise OSError(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened


@contextmanager
def open_text(file: str | Path, errors: str = "strict") -> Iterator[TextIOWrapper]:
    """Open a file of UTF-8 text, with or without a byte-order mark; "-" is standard input, and .gz files are unpacked.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8 (unless `errors` allows that, as for `open`), or its compressed data are damaged.
    """
    with open_binary(file) as binary:
        content = gzip.GzipFile(fileobj=binary, mode="rb") if str(file).lower().endswith(".gz") else binary
        text = TextIOWrapper(cast(BinaryIO, content), encoding="utf-8-sig", errors=errors, newline="")
        try:
            yield text
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{file} is damaged: {error}") from None
        finally:
            text.detach()  # else it would close standard input


def cut_lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; one longer than LONGEST_LINE is cut, for the parsers below."""
    while line := stream.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(("\n", "\r")):
            rest = stream.readline(LONGEST_LINE)
        yield line


def check_lines(lines: Iterable[str], file: str | Path) -> Iterator[str]:
    """Yield the lines of a text file that needs no parser; one that was cut is a ValueError."""
    for number, line in enumerate(lines, start=1):
        if problem := find_length_problem(line):
            raise ValueError(f"{file}, line {number}: {problem}")
        yield line


def find_length_problem(line: str) -> str | None:
    """Return what is wrong with a line that `cut_lines` cut; None for any other line."""
    return f"longer than {LONGEST_LINE:,} characters" if len(line) >= LONGEST_LINE else None


def load_json(file: str | Path) -> Any:
    """Load a JSON file; one that is not JSON is a ValueError."""
    with open_text(file) as stream:
        text = stream.read()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def parse_json_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's number and JSON object, or what is wrong with it. Empty lines are skipped.

    >>> list(parse_json_lines(['{"text": "A play."}', "[]"]))
    [(1, {'text': 'A play.'}), (2, 'not a JSON object')]
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if problem := find_length_problem(line):
            yield number, problem
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, value if isinstance(value, dict) else "not a JSON object"


def valid_rows(rows: Iterable[tuple[int, _Value | str]], file: str | Path) -> Iterator[tuple[int, _Value]]:
    """Yield the rows of a parser; a malformed one is a ValueError."""
    for number, value in rows:
        if isinstance(value, str):
            raise ValueError(f"{file}, line {number}: {value}")
        yield number, value
