"""Read a corpus passage by passage, without holding it in memory: tables (.tsv), JSON lines (.jsonl) and Parquet.

A table has the layout of facebookresearch/DPR's psgs_w100.tsv: id, text, title, with csv's quotes; a header may name
others. JSON lines and Parquet need a text and may have an id and a title, by the names in column_names.py; where no row
has an id, it is the row's number. Tables and JSON lines may be compressed (.gz). A malformed row is reported by its
number; it stops the reading, or is skipped.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from dpr_export.runtime.corpus.column_names import NAMES, find_fields, is_header
from dpr_export.runtime.corpus.duplicate_ids import SeenIds
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.table import parse_table
from dpr_export.runtime.corpus.text_files import cut_lines, open_binary, open_text, parse_json_lines

FORMATS = ("tsv", "jsonl", "parquet")
ON_ERROR = ("stop", "skip")
SKIPPED, NOTE = "skipped: ", "note: "  # how the reports of a skipped row and of a duplicate id begin
COLUMNS = ("id", "text", "title")  # of a table that has no header
DUPLICATES = 5  # how many passages with the id of an earlier one are reported, before the rest are counted
LONGEST_PASSAGE = 1 << 17  # characters; also the longest field that the csv module reads


class Passage(NamedTuple):
    """A passage of a corpus, which `id` names there; `title` is None if it has none."""

    id: str
    title: str | None
    text: str


@dataclass(slots=True)
class Progress:
    """How much of a corpus has been read."""

    fraction: float | None = None  # of the file, from 0 to 1; None if its size is not known
    passages: int = 0
    skipped: int = 0  # malformed rows

    @property
    def estimated_total(self) -> int | None:
        """An estimate of the number of passages in the whole file."""
        return round(self.passages / self.fraction) if self.passages and self.fraction else None


Rows = Iterator[tuple[int, Passage | str]]  # each row's number, and the passage or what is wrong with it


def format_of(file: str, format: str = "auto", default: str | None = None) -> str:
    """The format of a file: the one that is given, the one that its name says, or the default.

    >>> format_of("psgs_w100.tsv.gz")
    'tsv'
    """
    if format != "auto":
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}, and must be one of: auto, {', '.join(FORMATS)}")
        return format
    ending = Path(file).name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending in FORMATS:
        return ending
    if default is None:
        problem = "standard input has no name" if file == "-" else f"{file} has no ending"
        raise ValueError(f"{problem} that says its format: give --format, one of {', '.join(FORMATS)}")
    return default


def read_corpus(
    file: str | Path,
    format: str = "auto",
    *,
    on_error: str = "stop",
    tell: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> Iterator[Passage]:
    """Yield the passages of a file, in order.

    Args:
        file: its path; "-" is standard input.
        format: "tsv", "jsonl", "parquet"; "auto" takes the one that the name says.
        on_error: how to handle malformed rows: "stop" raises, "skip" reports them and goes on.
        tell: is called with a line of text for each row that is skipped, for the first passages that have the id of an
            earlier one, and with the number of all of these.
        progress: is kept up to date.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row is malformed, or the file is damaged.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     _ = file.write('{"title": "Hamlet", "text": "A play."}'), file.flush()
    ...     list(read_corpus(file.name))
    [Passage(id='1', title='Hamlet', text='A play.')]
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r}, and must be one of: {', '.join(ON_ERROR)}")
    file, progress = str(file), progress or Progress()
    format = format_of(file, format)
    is_parquet = format == "parquet"
    rows = _read_parquet(file, progress) if is_parquet else _read_text(file, format, progress)
    return _passages(rows, f"{file}, {'row' if is_parquet else 'line'}", on_error == "skip", tell, progress)


def _passages(rows: Rows, where: str, skip: bool, tell: Callable[[str], None], progress: Progress) -> Iterator[Passage]:
    seen, duplicates = SeenIds(), 0
    for number, passage in rows:
        if isinstance(passage, Passage):
            if not seen.add(passage.id):
                duplicates += 1
                if duplicates <= DUPLICATES:
                    tell(f"{NOTE}{where} {number}: id {passage.id!r} is an earlier passage's too")
            progress.passages += 1
            yield passage
        elif skip:
            progress.skipped += 1
            tell(f"{SKIPPED}{where} {number}: {passage}")
        else:
            raise ValueError(f"{where} {number}: {passage} (dpr-runtime encode --on-error skip skips such rows)")
    if duplicates > DUPLICATES:
        tell(f"{NOTE}{duplicates:,} passages have the id of an earlier one")


def _read_text(file: str, format: str, progress: Progress) -> Rows:
    with open_text(file, errors="surrogateescape") as stream:
        tell, size = _position_and_size(stream)
        lines = cut_lines(stream)
        is_table = format == "tsv"
        header = partial(_read_header, file=file)
        for number, values in parse_table(lines, COLUMNS, header) if is_table else parse_json_lines(lines):
            progress.fraction = min(1.0, tell() / size) if size else None
            yield number, values if isinstance(values, str) else _to_passage(values, number, is_table)


def _position_and_size(stream: TextIOWrapper) -> tuple[Callable[[], int], int]:
    """A function that says how many bytes of a file were read, and how many it has (0 if that is not known)."""
    binary: Any = getattr(stream.buffer, "fileobj", stream.buffer)  # a .gz file is measured as it is, compressed
    try:
        return binary.tell, os.fstat(binary.fileno()).st_size
    except OSError:
        return lambda: 0, 0


def _read_header(cells: list[str], file: str) -> tuple[str, ...] | None:
    if is_header(tuple(cells)):
        _check_columns(cells, file)
        return tuple(cells)
    return None


def _read_parquet(file: str, progress: Progress) -> Rows:
    pyarrow, parquet = import_library("pyarrow"), import_library("pyarrow.parquet")
    if file == "-":
        raise ValueError("Parquet cannot be read from standard input: give a file")
    with open_binary(file):
        pass  # for its errors
    try:
        with parquet.ParquetFile(file, memory_map=True) as table:
            columns = list(_check_columns(table.schema_arrow.names, file).values())
            number, total = 0, table.metadata.num_rows
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield number, _to_passage(values, number)
                progress.fraction = number / total
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError, OverflowError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {' '.join(str(error).split())}") from None


def _check_columns(names: Sequence[str], file: str) -> dict[str, str]:
    """Return the column of each field."""
    fields = find_fields(tuple(names))
    if isinstance(fields, str) or "text" not in fields:
        problem = fields if isinstance(fields, str) else f"the text is missing, one of {', '.join(NAMES['text'])}"
        raise ValueError(f"{file} has the columns {', '.join(names)}: {problem}")
    return fields


def _to_passage(values: dict[str, Any], number: int, is_table: bool = False) -> Passage | str:
    """The passage of a row, or what is wrong with it."""
    fields = find_fields(tuple(values))
    if isinstance(fields, str):
        return fields
    key = values[fields["id"]] if "id" in fields else number
    title, text = (values[fields[field]] if field in fields else None for field in ("title", "text"))
    if isinstance(key, bool) or not isinstance(key, str | int):
        return f'"{fields["id"]}" is of type {type(key).__name__}, and must be a string or an integer'
    if not str(key).strip():
        return f'"{fields["id"]}" is empty'
    if not isinstance(text, str):
        problem = "missing" if text is None else f"of type {type(text).__name__}"
        return f'"{fields.get("text", "text")}" is {problem}, and must be a string'
    if not isinstance(title, str | None):
        return f'"{fields["title"]}" is of type {type(title).__name__}, and must be a string'
    if (size := len(text) + len(title or "")) > LONGEST_PASSAGE:
        return f"{size:,} characters, and a passage may have {LONGEST_PASSAGE:,}"
    if is_table:  # as facebookresearch/DPR: it removes quotes that are left around a text
        text = text.strip('"')
    passage = Passage(str(key), title or None, text)
    try:
        "".join(part or "" for part in passage).encode()
    except UnicodeEncodeError:
        return "not UTF-8 text"
    return passage
