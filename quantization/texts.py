"""Read the calibration set, on which INT8 is calibrated, and the evaluation set, which measures the accuracy drop.

Each of the project's two sets has 200 questions with their passages, of many subjects and lengths; no subject is in
both. A user's own file replaces the calibration set.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dpr_export.models.artifact.git_lfs import check_no_pointer
from dpr_export.runtime.corpus.table import parse_table
from dpr_export.runtime.corpus.text_files import cut_lines, parse_json_lines, valid_rows

CALIBRATION_SET_FILE = Path(__file__).with_name("data") / "calibration_set.jsonl"
EVALUATION_SET_FILE = CALIBRATION_SET_FILE.with_name("evaluation_set.jsonl")
LIMIT = 300
COLUMNS = ("question", "title", "text")
_SEED = 7


@dataclass(frozen=True, slots=True)
class QuestionAndPassage:
    """A question, and the title and text of a passage. A field that a file does not give is empty."""

    question: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Texts:
    """The rows of a file, and its SHA-256."""

    rows: tuple[QuestionAndPassage, ...]
    sha256: str


def read_texts(path: Path, limit: int = LIMIT) -> Texts:
    """Read question, title and text from a .jsonl file, or from a .tsv file.

    Args:
        path: JSON lines with any of the three fields; or tab-separated rows, with csv's quotes, of the three in this
            order, or in the order of a header that names any of them. Other columns (such as DPR's id) are ignored.
        limit: from a longer file, this many rows are drawn with a fixed seed.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is malformed, the name has another ending, or the file has no rows.
    """
    if path.suffix.lower() not in (".jsonl", ".tsv"):
        raise ValueError(f"{path} must end in .jsonl or .tsv")
    check_no_pointer(path)
    content = path.read_bytes()
    try:
        lines = cut_lines(StringIO(content.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None
    rows = list((_from_json if path.suffix.lower() == ".jsonl" else _from_table)(lines, path))
    if not rows:
        raise ValueError(f"{path} has no rows")
    if len(rows) > limit:
        rows = random.Random(_SEED).sample(rows, limit)
    return Texts(tuple(rows), hashlib.sha256(content).hexdigest())


def _from_json(lines: Iterator[str], path: Path) -> Iterator[QuestionAndPassage]:
    for number, value in valid_rows(parse_json_lines(lines), path):
        fields = [value.get(name) or "" for name in COLUMNS]
        if not all(isinstance(field, str) for field in fields) or not any(fields):
            raise ValueError(f"{path}, line {number}, needs strings: any of {', '.join(COLUMNS)}")
        yield QuestionAndPassage(*fields)


def _from_table(lines: Iterator[str], path: Path) -> Iterator[QuestionAndPassage]:
    rows = parse_table(lines, COLUMNS, lambda cells: cells if set(cells) & set(COLUMNS) else None)
    for _, cells in valid_rows(rows, path):
        yield QuestionAndPassage(*(cells.get(name, "") for name in COLUMNS))
