"""The texts that INT8 is calibrated with, and the other texts that its loss is judged on.

Both sets are the project's own: 200 questions, each with the passage that answers it, of many subjects and lengths.
The subjects of one set do not occur in the other. A user's own file replaces the calibration set.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpr_export.runtime.corpus.text_files import parse_json_lines, valid_rows

FOLDER = Path(__file__).with_name("data")
CALIBRATION_SET_FILE = FOLDER / "calibration_set.jsonl"
EVALUATION_SET_FILE = FOLDER / "evaluation_set.jsonl"
LIMIT = 300
COLUMNS = ("question", "title", "text")
_SEED = 7


@dataclass(frozen=True, slots=True)
class Row:
    """A question, and the title and text of a passage. What a file does not give is empty."""

    question: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Texts:
    """The rows of a file, and its SHA-256."""

    rows: tuple[Row, ...]
    sha256: str


def read_texts(path: Path, limit: int = LIMIT) -> Texts:
    """Read question, title and text from a .jsonl file, or from a .tsv file.

    Args:
        path: JSON lines with any of the three fields; or tab-separated lines of the three in this order, or, after a
            header line that names any of them, in its order and with other columns (as DPR's own id, text, title).
        limit: of a longer file so many rows are drawn, by a fixed seed.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is wrong, the file has another ending, or no rows.
    """
    if path.suffix not in (".jsonl", ".tsv"):
        raise ValueError(f"{path} must end in .jsonl or .tsv")
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None
    rows = list(_from_json(lines, path) if path.suffix == ".jsonl" else _from_tabs(lines, path))
    if not rows:
        raise ValueError(f"{path} has no rows")
    if len(rows) > limit:
        rows = random.Random(_SEED).sample(rows, limit)
    return Texts(tuple(rows), hashlib.sha256(content).hexdigest())


def _from_json(lines: list[str], path: Path) -> Iterator[Row]:
    for number, value in valid_rows(parse_json_lines(lines), path):
        fields = [value.get(name) or "" for name in COLUMNS]
        if not all(isinstance(field, str) for field in fields) or not any(fields):
            raise ValueError(f"{path}, line {number}, needs strings: any of {', '.join(COLUMNS)}")
        yield Row(*fields)


def _from_tabs(lines: list[str], path: Path) -> Iterator[Row]:
    names: Sequence[str] = COLUMNS
    for number, line in enumerate(lines, start=1):
        fields = line.rstrip("\r").split("\t")
        if number == 1 and set(fields) & set(COLUMNS):
            names = fields
        elif line.strip():
            if len(fields) != len(names):
                raise ValueError(f"{path}, line {number}, has {len(fields)} columns, not {', '.join(names)}")
            values = dict(zip(names, fields, strict=True))
            yield Row(*(values.get(name, "") for name in COLUMNS))
