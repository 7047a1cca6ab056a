"""A folder holds the shards of one job, whichever processes write them, and whenever they start."""

import os
import random
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dpr_export.exporter import export
from dpr_export.models.artifact.records import record_to_json
from dpr_export.runtime import DPRContextEncoder
from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.job import Job, describe_job, read_job
from dpr_export.runtime.corpus.encoding.job_folder import hold_job_folder
from dpr_export.runtime.corpus.encoding.shards import shard_numbers
from tests.corpus.conftest import SMALL, contents, passages, refused, shard_of, write_tsv


def test_shards_of_two_jobs_never_lie_in_one_folder(
    tiny: dict[str, Path], corpus: Path, whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    model, before = tiny["context"], contents(whole)
    refused("is not empty: resume it", FileExistsError, model, str(corpus), whole)
    other = write_tsv(tmp_path / "other.tsv", passages(100, seed=1))
    for match, file, options in (
        ("started with the input's sha256 .*…, and this is", other, {}),
        ("started with the encoder's backend onnxruntime, and this is openvino", corpus, {"backend": "openvino"}),
        ("started with shard size 16, and this is 17", corpus, {"shard_size": 17}),
        ("started with stored npy, and this is parquet", corpus, {"stored": "parquet"}),
        ("started with dtype fp32, and this is fp16", corpus, {"dtype": "fp16"}),
        ("started with segments hf, and this is dpr", corpus, {"segments": "dpr"}),
        ("started with batch tokens", corpus, {"batch_tokens": 77}),
    ):
        refused(match, ValueError, model, str(file), whole, resume=True, **options)
        refused(match, ValueError, model, str(file), whole, part=(1, 2), **options)
    assert contents(whole) == before


def test_another_model_does_not_go_on_with_a_job(corpus: Path, whole: Path, checkpoint: Any, tmp_path: Path) -> None:
    export(str(checkpoint("context", seed=1)), tmp_path / "other")
    refused("started with the encoder's graph sha256", ValueError, tmp_path / "other", str(corpus), whole, resume=True)


def test_shards_of_another_job_are_not_taken_for_this_ones(
    tiny: dict[str, Path], corpus: Path, whole: Path, tmp_path: Path
) -> None:
    """As when the parts of two machines are copied together, and one had another model or input."""
    before = contents(whole)
    other = write_tsv(tmp_path / "other.tsv", passages(100, seed=1))
    encode_corpus(tiny["context"], other, tmp_path / "other", **SMALL)
    for path in (tmp_path / "other").glob("000003.*"):
        shutil.copy(path, whole)
    assert shard_of(whole, 3) is None
    done = encode_corpus(tiny["context"], corpus, whole, resume=True, **SMALL)
    assert (done.shards, done.existing) == (1, 6)
    assert contents(whole) == before


def test_an_input_that_changes_while_it_is_read_is_noticed(tiny: dict[str, Path], tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "a.tsv", passages(100))

    def grow(_done: int, _read: object) -> None:
        with file.open("a") as opened:
            opened.write("x\ty\tz\n")

    refused("a.tsv changed while it was read", ValueError, tiny["context"], file, tmp_path / "out", watch=grow)
    assert not (tmp_path / "out").exists()
    write_tsv(file, passages(100))
    encode_corpus(tiny["context"], file, tmp_path / "part", part=(1, 2), **SMALL)
    refused("a.tsv changed", ValueError, tiny["context"], file, tmp_path / "part", part=(2, 2), watch=grow)
    assert shard_numbers(tmp_path / "part") == [0, 2, 4, 6]


def test_of_jobs_that_begin_at_once_in_one_folder_one_goes_on(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fcntl")
    with DPRContextEncoder.from_pretrained(tiny["context"], backend="onnxruntime") as model:
        cut = {"segments": "hf", "shard_size": 16, "stored": "npy", "dtype": "fp32", "on_error": "stop"}
        jobs = [describe_job(model, str(corpus), "tsv", tokens, **cut) for tokens in (100, 200, 300, 400)]
    for turn in range(20):
        begin, ended = threading.Barrier(4, timeout=60), threading.Barrier(4, timeout=60)

        def began(job: Job, out: Path, begin: threading.Barrier, ended: threading.Barrier) -> Job | None:
            begin.wait()
            try:
                with hold_job_folder(out, job, False, (1, 1)):
                    ended.wait()
                    (out / "000000.json").touch()
                    return read_job(out)
            except (BlockingIOError, FileExistsError):
                ended.wait()
                return None

        out = tmp_path / f"{turn}"
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda job: began(job, out, begin, ended), jobs))  # noqa: B023
        (one,) = [place for place, job in enumerate(found) if job]
        assert found[one] == read_job(out) == jobs[one]


def test_a_part_of_a_job_has_one_writer(tiny: dict[str, Path], corpus: Path, whole: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    model, before = tiny["context"], contents(whole)

    def held(path: Path, how: int, blocked: tuple[int, int], words: str = "is being changed by another") -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
            refused(words, BlockingIOError, model, corpus, whole, resume=True, part=blocked)
        finally:
            os.close(descriptor)

    held(whole, fcntl.LOCK_EX, (1, 1))
    held(whole, fcntl.LOCK_EX, (1, 2))
    held(whole, fcntl.LOCK_SH, (1, 1))
    (whole / ".2-of-3.lock").touch()
    held(whole / ".2-of-3.lock", fcntl.LOCK_EX, (2, 3), "part 2/3 of .* is being written by another process")
    held(whole / ".2-of-3.lock", fcntl.LOCK_EX, (1, 2), "part 2/3 of .* is being written by another process")
    descriptor = os.open(whole / ".2-of-3.lock", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        done = encode_corpus(model, corpus, whole, resume=True, part=(1, 3), **SMALL)
        assert done.existing == 3
    finally:
        os.close(descriptor)
    encode_corpus(model, corpus, whole, resume=True, part=(1, 2), **SMALL)  # nobody holds the other's lock by now
    assert contents(whole) == before


def test_of_parts_that_begin_at_once_none_has_two_writers(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with DPRContextEncoder.from_pretrained(tiny["context"], backend="onnxruntime") as model:
        cut = {"segments": "hf", "shard_size": 16, "stored": "npy", "dtype": "fp32", "on_error": "stop"}
        job = describe_job(model, str(corpus), "tsv", 100, **cut)
    writing, together, guard = Counter[tuple[int, int]](), list[set[tuple[int, int]]](), threading.Lock()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "corpus.json").write_text(record_to_json(job))  # which none of them withdraws

    end = time.monotonic() + 60

    def write(seed: int) -> None:
        draw = random.Random(seed)
        while len(together) < 100 or {(1, 2), (2, 2)} not in together:
            assert time.monotonic() < end
            part = draw.choice([(1, 2), (2, 2), (1, 3)])
            with suppress(BlockingIOError), hold_job_folder(tmp_path / "out", job, True, part):
                with guard:
                    writing[part] += 1
                    together.append({each for each, number in writing.items() if number})
                    assert writing[part] == 1
                time.sleep(0.0002)
                with guard:
                    writing[part] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert all(len({count for _, count in parts}) == 1 for parts in together)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["corpus.json"]


def test_a_folder_that_cannot_be_begun_is_not_left(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dpr_export.runtime.corpus.encoding.job_folder.NamedTemporaryFile", full)
    refused("No space left", OSError, tiny["context"], corpus, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_what_a_job_did_not_make_it_does_not_remove(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("corpus.json", "2018.tsv", "000001.npy", ".env.local", ".1.notes.txt"):
        (mine / name).write_text("mine")
    before = contents(mine)
    refused("corpus.json is not JSON", ValueError, tiny["context"], corpus, mine, resume=True)
    refused("corpus.json is not JSON", ValueError, tiny["context"], corpus, mine, part=(1, 2))
    assert contents(mine) == before
    (mine / "corpus.json").unlink()
    (mine / "2018.tsv").unlink()
    (mine / "000001.npy").unlink()
    refused("is not an encoded corpus", OSError, tiny["context"], corpus, mine, resume=True)
    assert len(contents(mine)) == 2


def test_an_index_that_was_killed_does_not_stop_a_job(tiny: dict[str, Path], corpus: Path, whole: Path) -> None:
    (whole / ".index.abcd").mkdir()
    (whole / ".index.abcd" / "vectors.faiss").write_bytes(b"half")
    assert encode_corpus(tiny["context"], corpus, whole, resume=True, **SMALL).existing == 7
