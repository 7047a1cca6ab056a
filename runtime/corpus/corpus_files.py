"""Read a corpus row by row, without holding it: tables (.tsv), JSON lines (.jsonl) and Parquet, the first two also .gz.

A table is what the first DPR code reads (psgs_w100.tsv: id, text, title, with quoting). JSON lines have text and, if
there are, id and title; a passage that has no id takes the number of its row. A row that is no passage is told of with
its number, and ends the reading or is left out.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from dpr_export.runtime.corpus.optional_libraries import needed

ON_ERROR = ("stop", "skip")
LEFT_OUT = "left out: "  # what the line of such a row begins with
COLUMNS = ("id", "text", "title")  # of a table that has no header
_IDS = ("id", "_id", "pid")
LONGEST = 1 << 17  # characters of a passage, and of a field that the csv module reads
_LONGEST_LINE = 1 << 24


class Row(NamedTuple):
    """A passage of a corpus."""

    id: str
    title: str | None
    text: str


Parsed = Iterator[tuple[int, Row | str]]  # each row's number, and the passage or what is wrong with it


@dataclass(slots=True)
class Progress:
    """How far a corpus was read.

    Attributes:
        fraction: the part of the file that was read, from 0 to 1; None where its size is not known.
        rows: how many passages that gave.
        skipped: how many rows were no passages.
    """

    fraction: float | None = None
    rows: int = 0
    skipped: int = 0

    @property
    def expected(self) -> int | None:
        """How many passages the file will have given, as far as one can tell."""
        return round(self.rows / self.fraction) if self.fraction and self.rows else None


def format_of(file: str, asked: str = "auto") -> str:
    """The format that is asked for, or that a file's name says.

    Raises:
        ValueError: no format has such a name, or the file's name says none.

    >>> format_of("psgs_w100.tsv.gz")
    'tsv'
    """
    if asked != "auto":
        if asked not in FORMATS:
            raise ValueError(f"format is {asked!r}, and must be one of: auto, {', '.join(FORMATS)}")
        return asked
    name = Path(file).name.removesuffix(".gz")
    for found in FORMATS:
        if name.endswith(f".{found}"):
            return found
    if file == "-":
        raise ValueError(
            f"standard input has no name that says its format: give one of {', '.join(FORMATS)} (--format)"
        )
    raise ValueError(f"{file} has none of the endings .tsv, .jsonl, .parquet (and .gz): say what it is with --format")


def read_corpus(
    file: str | Path,
    format: str = "auto",
    *,
    on_error: str = "stop",
    tell: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield the passages of a file, in order.

    Args:
        file: its path; - is standard input.
        format: "tsv", "jsonl", "parquet"; "auto" takes what the name says.
        on_error: what a row that is no passage does: "stop" raises, "skip" tells of it and goes on.
        tell: is given a line for each row that is left out.
        progress: is kept up to date.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row is no passage, with its number; or the file is damaged.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r}, and must be one of: {', '.join(ON_ERROR)}")
    file, found = str(file), Progress() if progress is None else progress
    return _passages(file, FORMATS[format_of(file, format)](file, found), on_error, tell, found)


def _passages(file: str, rows: Parsed, on_error: str, tell: Callable[[str], None], found: Progress) -> Iterator[Row]:
    for number, row in rows:
        if isinstance(row, Row):
            found.rows += 1
            yield row
            continue
        problem = f"{file}, {'row' if file.endswith('.parquet') else 'line'} {number}: {row}"
        if on_error == "stop":
            raise ValueError(f"{problem} (--on-error skip leaves such rows out)")
        found.skipped += 1
        tell(f"{LEFT_OUT}{problem}")


def _tsv(file: str, progress: Progress) -> Parsed:
    """The rows of a table. Quotes that are left around a text are taken off, as the first code does."""
    columns: tuple[str, ...] = COLUMNS
    first = True
    with _opened(file, progress) as stream:
        reader = csv.reader(_lines(stream, file), delimiter="\t")
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"is no row of a table: {error}"
                continue
            if first and cells:
                first = False
                names = [cell.strip().lower() for cell in cells]
                if names[0] in _IDS or len({*_IDS, "title", "text"} & set(names)) > 1:
                    columns = _header(names, file)
                    continue
            if cells and len(cells) != len(columns):
                yield reader.line_num, f"has {len(cells)} columns, and needs {len(columns)}: {', '.join(columns)}"
            elif cells:
                values: dict[str, Any] = dict(zip(columns, cells, strict=True))
                values["text"] = values["text"].strip('"')
                yield reader.line_num, _row(values, reader.line_num)


def _jsonl(file: str, progress: Progress) -> Parsed:
    """The objects of JSON lines. Empty lines are no rows."""
    with _opened(file, progress) as stream:
        for number, line in enumerate(_lines(stream, file), start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"is not JSON: {error}"
                continue
            yield number, _row(values, number) if isinstance(values, dict) else "is no JSON object"


def _parquet(file: str, progress: Progress) -> Parsed:
    """The rows of a Parquet file, a few at a time."""
    pyarrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    if file == "-":
        raise ValueError("Parquet cannot be read from standard input: give a file")
    path = _regular(file)
    try:
        with parquet.ParquetFile(path, memory_map=True) as opened:
            names = _header([name for name in opened.schema_arrow.names if name in (*_IDS, "title", "text")], file)
            number, total = 0, max(1, opened.metadata.num_rows)
            for batch in opened.iter_batches(batch_size=1024, columns=list(names)):
                for values in batch.to_pylist():
                    number += 1
                    yield number, _row(values, number)
                progress.fraction = number / total
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError, OverflowError) as error:
        raise ValueError(f"{file} is no Parquet file that can be read: {' '.join(str(error).split())}") from None


FORMATS: dict[str, Callable[[str, Progress], Parsed]] = {"tsv": _tsv, "jsonl": _jsonl, "parquet": _parquet}


def _header(names: Sequence[str], file: str) -> tuple[str, ...]:
    """The columns of a table, by their names.

    Raises:
        ValueError: none is the text, or two have one name.
    """
    if "text" not in names or len(set(names)) < len(names):
        raise ValueError(f'{file} has the columns {", ".join(names)}, and needs "text", and each once')
    return tuple(names)


def _row(values: dict[str, Any], number: int) -> Row | str:
    """The passage of a row's values, or what is wrong with them."""
    name = next((name for name in _IDS if name in values), None)
    key = number if name is None else values[name]
    title, text = values.get("title"), values.get("text")
    if isinstance(key, bool) or not isinstance(key, str | int):
        return f'"{name}" is of type {type(key).__name__}, and must be a string or an integer'
    if not isinstance(text, str):
        return f'"text" is {"missing" if text is None else f"of type {type(text).__name__}"}, and must be a string'
    if not isinstance(title, str | None):
        return f'"title" is of type {type(title).__name__}, and must be a string'
    if (size := len(text) + len(title or "")) > LONGEST:
        return f"has {size:,} characters, and a passage at most {LONGEST:,}"
    row = Row(str(key), title or None, text)  # as the first code, which encodes a text without a title alone
    try:
        "".join(part or "" for part in row).encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return row


def _regular(file: str) -> Path:
    path = Path(file)
    if path.is_dir():
        raise IsADirectoryError(f"{file} is a folder: give a file")
    if not path.exists():
        raise FileNotFoundError(f"{file} cannot be read: there is no such file")
    return path


class _Counted:
    """A binary file that notes how far it was read."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress) -> None:
        self._file, self._size, self._progress, self._read = file, size, progress, 0

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data = self._file.read(size)
        self._read += len(data)
        self._progress.fraction = min(1.0, self._read / self._size) if self._size else None
        return data

    read1 = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _standard_input() -> BinaryIO:
    """Standard input below its buffer, whose lock would keep Python from ending while a thread waits for more."""
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return cast(BinaryIO, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


@contextmanager
def _opened(file: str, progress: Progress) -> Iterator[TextIOWrapper]:
    """A file of text, packed or not. Bytes that are not UTF-8 become lone surrogates, which no row may hold."""
    try:
        raw = _standard_input() if file == "-" else _regular(file).open("rb")
    except OSError as error:
        raise OSError(f"{file} cannot be read: {error.strerror}" if error.strerror else str(error)) from None
    with nullcontext(raw) if file == "-" else raw:
        size = 0 if file == "-" else Path(file).stat().st_size
        counted = cast(BinaryIO, _Counted(raw, size, progress))
        binary = gzip.GzipFile(fileobj=counted, mode="rb") if file.endswith(".gz") else counted
        text = TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        yield text
        text.detach()


def _lines(stream: TextIOWrapper, file: str) -> Iterator[str]:
    """A file's lines, none of them without bound."""
    number = 0
    try:
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"{file}, line {number}, is longer than {_LONGEST_LINE:,} characters")
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged after line {number}: {error}") from None
