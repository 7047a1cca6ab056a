"""What the contenders read: strings of an exact number of tokens, and passages of real lengths.

Real passages come from `xquad_dev.json` and `squad_train_part.json` (SQuAD's format) in the folder that
DPR_EXPORT_DATA names; without it, from the project's own calibration and judging texts. Either is repeated until there
are enough. Exact lengths are made of words of those same passages: a tokenizer works on them as on any other text.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from benchmarks.workers import ROOT

# Read here and not by dpr_export.quantization, which would bring NNCF and torch into the process that only asks others.
CALIBRATION, JUDGING = (ROOT / "quantization" / "data" / f"{name}.jsonl" for name in ("calibration", "judging"))
FILES = ("xquad_dev.json", "squad_train_part.json")
QUESTION = "Who led the work, and in which year was it finished?"


@dataclass(frozen=True, slots=True)
class Passage:
    title: str
    text: str


def passages(count: int) -> tuple[str, list[Passage]]:
    """So many passages, and where they come from, in words."""
    folder = os.environ.get("DPR_EXPORT_DATA")
    if folder and all(Path(folder, name).is_file() for name in FILES):
        found = [passage for name in FILES for passage in _of_squad(Path(folder, name))]
        source = " and ".join(FILES)
    else:
        found = [Passage(row["title"], row["text"]) for file in (JUDGING, CALIBRATION) for row in _rows(file)]
        source = "the project's own texts (DPR_EXPORT_DATA is not set)"
    return f"{len(found)} passages of {source}", list(islice(cycle(found), count))


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _of_squad(path: Path) -> Iterator[Passage]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield Passage(article["title"].replace("_", " "), paragraph["context"])


def of_length(texts: Sequence[str], count: int, length: int, tokens_of: Callable[[str], int]) -> list[str]:
    """Make `count` strings of exactly `length` tokens from the words of texts, in their order.

    Args:
        texts: where the words come from.
        count: how many strings.
        length: how many tokens each is to have, [CLS] and [SEP] included.
        tokens_of: counts a string's tokens, [CLS] and [SEP] included.
    """
    words = cycle([word for text in texts for word in text.split()])
    made = []
    for _ in range(count):
        string, missing = "", length - tokens_of("")
        while missing:
            longer = f"{string} {next(words)}".strip()
            left = length - tokens_of(longer)
            if left >= 0:  # a word of more tokens than are missing is left out
                string, missing = longer, left
        made.append(string)
    return made


def calibration_folder(folder: Path, kind: str) -> Path:
    """The calibration texts of a kind as the peer reads them: a folder with `train.jsonl` of objects with a "text"."""
    texts = [row["question" if kind == "question" else "text"] for row in _rows(CALIBRATION)]
    (folder / kind).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / kind / "train.jsonl").write_text(lines, encoding="utf-8")
    return folder / kind
