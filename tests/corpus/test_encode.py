"""A corpus's shards hold what transformers computes, in order, whatever interrupted the job or shared it out."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from dpr_export.runtime import DPRContextEncoder
from dpr_export.runtime.corpus.encoding import blocks
from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.job import read_job
from dpr_export.runtime.corpus.encoding.shards import shard_numbers, shard_passages, shard_vectors
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from tests.corpus.conftest import SMALL, contents, passages, refused, shard_of, write_jsonl, write_tsv
from tests.corpus.kills import DPR_RUNTIME, OFFLINE, command, kill_and_resume


def vectors_of(folder: Path) -> np.ndarray:
    stored = read_job(folder).stored
    return np.concatenate([shard_vectors(folder, number, stored) for number in shard_numbers(folder)])


def rows_of(folder: Path) -> list[Passage]:
    return [row for number in shard_numbers(folder) for row in shard_passages(folder, number, read_job(folder).stored)]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("window", [5, 2048])
def test_vectors_are_those_of_transformers(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, window: int
) -> None:
    monkeypatch.setattr(blocks, "WINDOW", window)
    done = encode_corpus(tiny["context"], str(corpus), tmp_path / "out", backend=backend, shard_size=40)
    assert (done.passages, done.shards, done.existing, done.skipped) == (100, 3, 0, 0)
    rows = list(read_corpus(str(corpus)))
    assert rows_of(tmp_path / "out") == rows
    checkpoint = tiny["context"].with_name("context-checkpoint")
    tokenizer = transformers.DPRContextEncoderTokenizer.from_pretrained(checkpoint)
    model = transformers.DPRContextEncoder.from_pretrained(checkpoint).eval()
    expected = []
    for row in rows:
        texts = (row.text,) if row.title is None else (row.title, row.text)
        with torch.no_grad():
            expected.append(
                model(**tokenizer(*texts, truncation=True, max_length=512, return_tensors="pt"))[0][0].numpy()
            )
    np.testing.assert_allclose(vectors_of(tmp_path / "out"), expected, atol=1e-5)


def test_a_folder_says_what_made_it(tiny: dict[str, Path], corpus: Path, whole: Path) -> None:
    job = read_job(whole)
    assert (job.shards, job.passages, job.skipped) == (7, 100, 0)
    assert job.input.name == str(corpus)
    assert (job.encoder.backend, job.encoder.precision, job.encoder.dim) == ("onnxruntime", "fp32", 32)
    assert [shard_of(whole, number).rows for number in range(7)] == [16] * 6 + [4]
    with DPRContextEncoder.from_pretrained(tiny["context"], backend="onnxruntime") as model:
        assert job.encoder.graph_sha256 == model.folder.manifest.files[model.choice.variant.file].sha256


def test_parts_of_a_corpus_together_are_the_whole(
    tiny: dict[str, Path], corpus: Path, whole: Path, tmp_path: Path
) -> None:
    for index, shards in ((2, 2), (3, 2), (1, 3)):
        done = encode_corpus(tiny["context"], str(corpus), tmp_path / "parts", part=(index, 3), **SMALL)
        assert (done.shards, done.existing) == (shards, 0)
    assert contents(tmp_path / "parts") == contents(whole)


def test_other_formats_hold_the_same(tiny: dict[str, Path], corpus: Path, whole: Path, tmp_path: Path) -> None:
    for stored, dtype in (("parquet", "fp32"), ("parquet", "fp16"), ("npy", "fp16")):
        out = tmp_path / f"{stored}-{dtype}"
        encode_corpus(tiny["context"], str(corpus), out, stored=stored, dtype=dtype, **SMALL)
        assert rows_of(out) == rows_of(whole)
        assert vectors_of(out).dtype == {"fp32": np.float32, "fp16": np.float16}[dtype]
        np.testing.assert_array_equal(vectors_of(out), vectors_of(whole).astype(vectors_of(out).dtype))


def test_dpr_segments_are_those_of_encode(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    encode_corpus(tiny["context"], str(corpus), tmp_path / "dpr", segments="dpr", **SMALL)
    rows = list(read_corpus(str(corpus)))
    with DPRContextEncoder.from_pretrained(tiny["context"], backend="onnxruntime", threads=1) as model:
        for segments, same in (("dpr", True), ("hf", False)):
            expected = model.encode([row.text for row in rows], [row.title for row in rows], segments=segments)
            assert np.allclose(vectors_of(tmp_path / "dpr"), expected, atol=1e-5) is same


def test_watch_is_called_after_every_batch(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    """A window of a large model takes minutes: a bar that moved with each would seem to stand still."""
    told: list[int] = []
    how = {**SMALL, "shard_size": 8192, "batch_tokens": 512}
    encode_corpus(tiny["context"], str(corpus), tmp_path / "out", watch=lambda done, _: told.append(done), **how)
    assert sum(told) == 100
    assert len(told) > 5


def test_resuming_a_finished_job_does_nothing(tiny: dict[str, Path], corpus: Path, whole: Path) -> None:
    before = contents(whole)
    done = encode_corpus(tiny["context"], str(corpus), whole, resume=True, **SMALL)
    assert (done.passages, done.shards, done.existing) == (0, 0, 7)
    assert contents(whole) == before


def test_a_shard_that_was_damaged_or_lost_is_made_again(tiny: dict[str, Path], corpus: Path, whole: Path) -> None:
    before = contents(whole)
    (whole / "000001.npy").write_bytes(b"short")
    (whole / "000002.jsonl").unlink()
    (whole / "000004.json").unlink()
    (whole / ".000004.npy.abcd").write_bytes(b"left by a run that was killed")
    done = encode_corpus(tiny["context"], str(corpus), whole, resume=True, **SMALL)
    assert (done.shards, done.existing) == (3, 4)
    assert contents(whole) == before


@pytest.mark.ci
@pytest.mark.parametrize("store", ["npy", "parquet"])
def test_a_job_that_is_killed_again_and_again_gives_the_same_folder(
    tiny: dict[str, Path], tmp_path: Path, store: str
) -> None:
    file = write_tsv(tmp_path / "many.tsv", passages(1200))
    whole = tmp_path / "whole"
    run = command(tiny["context"], file, whole, "--store", store)
    subprocess.run(run, check=True, env=OFFLINE, capture_output=True)
    found = kill_and_resume(tiny["context"], file, tmp_path / "killed", 5, store, "--store", store)
    assert len(found) == 5
    assert len(set(found)) >= 3
    assert contents(tmp_path / "killed") == contents(whole)


def test_ctrl_c_ends_a_job_in_one_line_and_keeps_what_is_whole(tiny: dict[str, Path], tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "many.tsv", passages(3000))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command(tiny["context"], file, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    while process.poll() is None and len(list((tmp_path / "out").glob("*.json"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "dpr-runtime: interrupted"
    assert "Traceback" not in said
    assert re.search(r"^kept [0-9]+ shards in .*: repeat the command with --resume to go on$", said, re.MULTILINE)
    assert not list((tmp_path / "out").glob(".0*"))
    assert all(shard_of(tmp_path / "out", number) for number in shard_numbers(tmp_path / "out"))


def test_bad_arguments_are_named(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    model, file, out = tiny["context"], str(corpus), tmp_path / "out"
    refused("stored is 'csv', and must be one of: npy, parquet", ValueError, model, file, out, stored="csv")
    refused("dtype is 'int8', and must be one of: fp32, fp16", ValueError, model, file, out, dtype="int8")
    refused("on_error is 'go', and must be one of: stop, skip", ValueError, model, file, out, on_error="go")
    refused("shard_size is 0, and must be at least 1", ValueError, model, file, out, shard_size=0)
    refused("part is 4/3, and must be from 1/3 to 3/3", ValueError, model, file, out, part=(4, 3))
    refused("workers is 0, and must be at least 1", ValueError, model, file, out, workers=0)
    refused(r"workers is 2, but .* give ray too", ValueError, model, file, out, workers=2)
    refused("batch_tokens is 0, and must be at least 1", ValueError, model, file, out, batch_tokens=0)
    for options in ({"resume": True}, {"part": (1, 2)}, {"ray": "local"}):
        refused("standard input can be read only once", ValueError, model, "-", out, format="tsv", **options)
    os.mkfifo(tmp_path / "pipe.tsv")
    refused("is a pipe or a device, which cannot be read twice", OSError, model, tmp_path / "pipe.tsv", out)
    refused("holds a reader model", ValueError, tiny["reader"], file, out)
    refused("none.tsv cannot be read: No such file", OSError, model, str(tmp_path / "none.tsv"), out)
    refused(f"output {corpus} is a file", OSError, model, file, corpus)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    refused("is not empty", OSError, model, file, tmp_path / "letters")
    refused("is not empty, and is not an encoded corpus", OSError, model, file, tmp_path / "letters", resume=True)
    assert not out.exists()


def test_a_malformed_row_stops_a_job_or_is_skipped(tiny: dict[str, Path], tmp_path: Path) -> None:
    rows = passages(200)
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:180], "{}", *lines[180:]]) + "\n")
    refused(r'a\.jsonl, line 181: "text" is missing', ValueError, tiny["context"], str(file), tmp_path / "stop")
    assert read_job(tmp_path / "stop").shards is None
    stopped = shard_numbers(tmp_path / "stop")
    assert stopped == list(range(len(stopped)))
    assert stopped
    refused("line 181", ValueError, tiny["context"], str(file), tmp_path / "new" / "stop", shard_size=200)
    assert not (tmp_path / "new").exists()
    said: list[str] = []
    for out, resume, there in ((tmp_path / "skip", False, 0), (tmp_path / "stop", True, len(stopped))):
        how = {**SMALL, "on_error": "skip", "resume": resume, "tell": said.append}
        done = encode_corpus(tiny["context"], str(file), out, **how)
        assert (done.skipped, done.existing) == (1, there)
        assert rows_of(out) == rows
        assert [shard_of(out, number).skipped for number in (0, 10, 11, 12)] == [0, 0, 1, 1]
    assert [line for line in said if "line 181" not in line] == [
        f"{tiny['context']}: onnxruntime fp32, vectors of dimension 32"
    ] * 2
    assert len(said) == 4
    assert contents(tmp_path / "stop") == contents(tmp_path / "skip")


def test_an_error_while_writing_ends_the_job(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dpr_export.runtime.corpus.encoding.job_part.write_shard", full)
    refused("No space left", OSError, tiny["context"], str(corpus), tmp_path / "out")
    monkeypatch.undo()
    encode_corpus(tiny["context"], str(corpus), tmp_path / "out", resume=True, **SMALL)
    assert len(rows_of(tmp_path / "out")) == 100


@pytest.mark.parametrize(("part", "lost"), [((1, 1), 7), ((2, 3), 2), ((1, 3), 1), ((1, 1), 2)])
def test_what_is_expected_is_what_this_run_will_do(
    tiny: dict[str, Path], corpus: Path, whole: Path, part: tuple[int, int], lost: int
) -> None:
    for number in [n for n in range(7) if n % part[1] == part[0] - 1][:lost]:
        (whole / f"{number:06}.json").unlink()
    told: list[int | None] = []
    how = {**SMALL, "part": part, "resume": True, "watch": lambda _done, expected: told.append(expected)}
    done = encode_corpus(tiny["context"], corpus, whole, **how)
    assert done.shards == lost
    assert told[-1] is not None
    assert 0 <= told[-1] - done.passages < 16


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=30))
def test_windows_hold_few_passages_and_few_characters(sizes: list[int]) -> None:
    rows = [Passage(str(place), None, "x" * size) for place, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "WINDOW", 4)
        patch.setattr(blocks, "CHARACTERS", 50)
        windows = list(blocks.cut_into_windows(rows))
    assert [row for window in windows for row in window] == rows
    for window in windows:
        assert 1 <= len(window) <= 4
        assert len(window) == 1 or sum(len(row.text) for row in window) <= 50


def test_an_empty_corpus_is_no_shards(tiny: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    done = encode_corpus(tiny["context"], str(tmp_path / "a.jsonl"), tmp_path / "out", **SMALL)
    assert (done.passages, done.shards) == (0, 0)
    assert read_job(tmp_path / "out").passages == 0


def test_the_command_says_what_it_did(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    options = ("--shard", "1/2", "--shard-size", "30")
    run = [DPR_RUNTIME, "encode", tiny["context"], corpus, tmp_path / "out", *options]
    done = subprocess.run(run, env=OFFLINE, capture_output=True, check=True)
    model, first, second = done.stderr.decode().splitlines()
    assert model == f"{tiny['context']}: openvino fp32, vectors of dimension 32"
    assert first.startswith(f"60 passages to 2 shards in {tmp_path / 'out'}: ")
    assert second.startswith("busy, of ")
    assert all(f"{stage} " in second for stage in ("reading", "tokenizing", "computing", "writing"))
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["passages"] == 100
    done = subprocess.run([*run, "--resume"], env=OFFLINE, capture_output=True, check=True)
    assert done.stderr.decode().splitlines()[1] == f"nothing left to do: 2 shards in {tmp_path / 'out'}"
