"""Corpora that the tests make: passages of many lengths, of the words that the tiny models know and of others."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.job import identify_job, read_job
from dpr_export.runtime.corpus.encoding.shards import Shard, read_shard
from dpr_export.runtime.corpus.passages import Passage
from tests.conftest import WORDS

WriteCorpus = Callable[..., Path]
SMALL = {"shard_size": 16, "backend": "onnxruntime", "threads": 1}
STRANGE = ("naïve", "東京", "\u00a0", "tab\there", 'a "quoted" word', "é", "😀", "[SEP]", "line\u2028break")


def passages(count: int, seed: int = 0) -> list[Passage]:
    """Passages from one word to more than the model takes, some without a title."""
    draw = random.Random(seed)
    words = (*WORDS[:40], *STRANGE)
    return [
        Passage(
            f"p{number}",
            draw.choice((None, " ".join(draw.choices(words, k=draw.randint(1, 5))))),
            " ".join(draw.choices(words, k=min(600, 1 + int(draw.expovariate(1 / 40))))),
        )
        for number in range(count)
    ]


def write_tsv(path: Path, rows: Sequence[Passage]) -> Path:
    """A table as facebookresearch/DPR's: a header, tabs, and quotes where they are needed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([("id", "text", "title"), *((row.id, row.text, row.title or "") for row in rows)])
    return path


def write_jsonl(path: Path, rows: Sequence[Passage]) -> Path:
    """One object a line."""
    path.write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 100 passages."""
    return write_tsv(tmp_path_factory.mktemp("corpus") / "passages.tsv", passages(100))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shard_of(folder: Path, number: int) -> Shard | None:
    return read_shard(folder, number, identify_job(read_job(folder)))


@pytest.fixture
def whole(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> Path:
    """A folder of 100 passages in seven shards."""
    encode_corpus(tiny["context"], str(corpus), tmp_path / "whole", **SMALL)
    return tmp_path / "whole"


def refused(match: str, error: type[Exception], *arguments: Any, **options: Any) -> None:
    with pytest.raises(error, match=match):
        encode_corpus(*arguments, **{**SMALL, **options})
