"""The texts that contenders read: strings of an exact number of tokens, and passages of real lengths.

Passages come from `xquad_dev.json` and `squad_train_part.json` (SQuAD's format) in the folder that DPR_EXPORT_DATA
names; without it, from the project's own calibration and evaluation sets. They are repeated until there are enough.
"""

import json
import os
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.harness.workers import ROOT
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.corpus import Passage, read_corpus
from dpr_export.runtime.corpus.squad import read_squad

# By path: importing dpr_export.quantization would bring NNCF and torch into the process that only asks others.
CALIBRATION_SET, EVALUATION_SET = (
    ROOT / "quantization" / "data" / f"{name}.jsonl" for name in ("calibration_set", "evaluation_set")
)
CALIBRATION_TEXTS = 40  # rows; models with random weights are not worth more
SQUAD_FILES = ("xquad_dev.json", "squad_train_part.json")
QUESTION = "Who led the work, and in which year was it finished?"
_VOCABULARY = (1000, 30000)  # ids of whole words in bert-base-uncased


def read_passages(count: int) -> tuple[str, list[Passage]]:
    """Read so many passages; the first item says where they come from."""
    files = [Path(os.environ.get("DPR_EXPORT_DATA", ""), name) for name in SQUAD_FILES]
    if "DPR_EXPORT_DATA" in os.environ and all(file.is_file() for file in files):
        passages = [passage for file in files for passage in read_squad(file).passages]
        source = " and ".join(SQUAD_FILES)
    else:
        passages = [passage for file in (EVALUATION_SET, CALIBRATION_SET) for passage in read_corpus(file)]
        source = "the project's own texts (DPR_EXPORT_DATA is not set)"
    return f"{len(passages)} passages of {source}", list(islice(cycle(passages), count))


def random_feeds(kind: str, shape: tuple[int, int]) -> dict[str, list[list[int]]]:
    """A graph's inputs of shape (batch, sequence), without padding, as lists; always the same ids."""
    ids = np.random.default_rng(0).integers(*_VOCABULARY, shape)
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: values[name].tolist() for name in KINDS[kind].inputs}


def make_texts(texts: Sequence[str], count: int, length: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Make `count` strings of exactly `length` tokens, with [CLS] and [SEP], from the words of texts in their order."""
    words = cycle([word for text in texts for word in text.split()])
    made = []
    for _ in range(count):
        string, missing = "", length - count_tokens("")
        while missing:
            longer = f"{string} {next(words)}".strip()
            left = length - count_tokens(longer)
            if left >= 0:  # skip a word of more tokens than are missing
                string, missing = longer, left
        made.append(string)
    return made


def write_texts(path: Path, count: int, column: str | None = None) -> None:
    """Write the first rows of the calibration set; or one column of them, named "text"."""
    lines = CALIBRATION_SET.read_text(encoding="utf-8").splitlines()[:count]
    if column:
        lines = [json.dumps({"text": json.loads(line)[column]}) for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
