"""Read UTF-8 text files, plain or gzip: line by line, as JSON lines or as a table.

The parsers yield each row's number with its value, or with a sentence on what is wrong with it, for `valid_rows`.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, cast

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
        content = gzip.GzipFile(fileobj=binary, mode="rb") if str(file).endswith(".gz") else binary
        text = TextIOWrapper(cast(BinaryIO, content), encoding="utf-8-sig", errors=errors, newline="")
        try:
            yield text
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{file} is damaged: {error}") from None
        finally:
            text.detach()  # else it would close standard input


def read_lines(stream: TextIO, file: str | Path) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; one longer than LONGEST_LINE is a ValueError."""
    for number in count(1):
        line = stream.readline(LONGEST_LINE)
        if len(line) == LONGEST_LINE:
            raise ValueError(f"{file}, line {number}: longer than {LONGEST_LINE:,} characters")
        if not line:
            return
        yield line


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
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, value if isinstance(value, dict) else "not a JSON object"


def parse_table(
    lines: Iterable[str],
    columns: Sequence[str],
    read_header: Callable[[list[str]], Sequence[str] | None] = lambda _: None,
) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield the line number and cells of each row of tab-separated values with csv's quotes, or what is wrong with it.

    `read_header` returns the names of the columns if the cells of the first row are a header, else None: then they are
    `columns`. Empty lines are skipped.

    >>> list(parse_table(["7\\tA play.\\n"], ("id", "text")))
    [(1, {'id': '7', 'text': 'A play.'})]
    """
    reader = csv.reader(lines, delimiter="\t")
    is_first = True
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"not a row of a table: {error}"
            continue
        if not cells:
            continue
        header, is_first = read_header(cells) if is_first else None, False
        if header is not None:
            columns = header
        elif len(cells) != len(columns):
            yield reader.line_num, f"the number of columns is {len(cells)}, not {len(columns)}: {', '.join(columns)}"
        else:
            yield reader.line_num, dict(zip(columns, cells, strict=True))


def valid_rows(rows: Iterable[tuple[int, _Value | str]], file: str | Path) -> Iterator[tuple[int, _Value]]:
    """Yield the rows of a parser; a malformed one is a ValueError."""
    for number, value in rows:
        if isinstance(value, str):
            raise ValueError(f"{file}, line {number}: {value}")
        yield number, value
