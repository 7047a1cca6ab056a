"""An index finds what NumPy finds over transformers' vectors, and refuses what it was not made for."""

import io
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dpr_export.exporter import export
from dpr_export.runtime import DPRQuestionEncoder, DPRReader
from dpr_export.runtime.corpus import PassageIndex, Question, build_index, encode_corpus, read_corpus
from dpr_export.runtime.corpus.encoding.job import read_job
from dpr_export.runtime.corpus.retrieval import build_index as build_index_file
from dpr_export.runtime.corpus.retrieval.questions import read_questions
from dpr_export.runtime.corpus.retrieval.search import ask, search
from tests.commands import run_command
from tests.corpus.conftest import passages, write_tsv

COMMAND = Path(sys.executable).with_name("dpr-runtime")
QUESTIONS = ["who wrote hamlet ?", "what is the capital of france ?", "a b c", "where was paris"]


@pytest.fixture(scope="module")
def encoded(tiny: dict[str, Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoded corpus of 100 passages, with its index."""
    folder = tmp_path_factory.mktemp("indexed") / "corpus"
    encode_corpus(tiny["context"], str(corpus), folder, shard_size=16, backend="onnxruntime")
    build_index(folder)
    return folder


def reference_vectors(tiny: dict[str, Path], kind: str, texts: list[tuple[str, ...]]) -> np.ndarray:
    """The vectors of transformers' model."""
    folder = tiny[kind].with_name(f"{kind}-checkpoint")
    name = {"question": "DPRQuestionEncoder", "context": "DPRContextEncoder"}[kind]
    tokenizer = getattr(transformers, f"{name}Tokenizer").from_pretrained(folder)
    model = getattr(transformers, name).from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = (tokenizer(*text, truncation=True, max_length=512, return_tensors="pt") for text in texts)
        return np.stack([model(**each)[0][0].numpy() for each in tokens])


def test_what_is_found_is_what_transformers_vectors_find(tiny: dict[str, Path], corpus: Path, encoded: Path) -> None:
    rows = list(read_corpus(str(corpus)))
    texts = [(row.text,) if row.title is None else (row.title, row.text) for row in rows]
    scores = (
        reference_vectors(tiny, "question", [(q,) for q in QUESTIONS]) @ reference_vectors(tiny, "context", texts).T
    )
    with (
        PassageIndex.open(encoded / "index") as index,
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as encoder,
    ):
        found = search([Question(text) for text in QUESTIONS], encoder, index, top_k=100)
    for question, expected in zip(found, scores, strict=True):
        assert question.retrieved is not None
        assert len(question.retrieved) == 100
        by_id = {each.id: each for each in question.retrieved}
        for row, score in zip(rows, expected, strict=True):
            assert by_id[row.id].score == pytest.approx(score, abs=1e-4)
            assert by_id[row.id][1:3] == (row.title, row.text)
        ordered = [each.score for each in question.retrieved]
        assert ordered == sorted(ordered, reverse=True)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16", "SQfp16"])
def test_every_factory_of_faiss_may_be_used(encoded: Path, tmp_path: Path, factory: str) -> None:
    record = build_index(encoded, tmp_path / "index", factory=factory)
    assert (record.factory, record.passages) == (factory, 100)
    parameters = {"IVF4,Flat": "nprobe=4", "HNSW16": "efSearch=100"}.get(factory, "")
    vectors = np.load(encoded / "000002.npy")
    with PassageIndex.open(tmp_path / "index", parameters) as index, PassageIndex.open(encoded / "index") as exact:
        assert index.search(vectors, 1)[1].tolist() == exact.search(vectors, 1)[1].tolist()


def test_a_corpus_in_parquet_has_the_same_index(
    tiny: dict[str, Path], corpus: Path, encoded: Path, tmp_path: Path
) -> None:
    encode_corpus(tiny["context"], str(corpus), tmp_path / "p", shard_size=16, backend="onnxruntime", stored="parquet")
    build_index(tmp_path / "p")
    for name in ("vectors.faiss", "passages.jsonl", "offsets.npy"):
        assert (tmp_path / "p" / "index" / name).read_bytes() == (encoded / "index" / name).read_bytes()


def test_an_index_stands_without_its_corpus(encoded: Path, corpus: Path, tmp_path: Path) -> None:
    build_index(encoded, tmp_path / "index")
    with PassageIndex.open(tmp_path / "index") as index:
        assert index.passages(range(100)) == list(read_corpus(str(corpus)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index"]


def test_many_threads_may_use_an_index(encoded: Path, corpus: Path) -> None:
    rows = list(read_corpus(str(corpus)))
    draws = [random.Random(seed).sample(range(100), 30) for seed in range(200)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with PassageIndex.open(encoded / "index") as index, ThreadPoolExecutor(8) as pool:
            found = list(pool.map(index.passages, draws))
    finally:
        sys.setswitchinterval(before)
    assert found == [[rows[place] for place in draw] for draw in draws]


def test_what_an_index_learns_from_is_every_nth_vector(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = build_index_file._read_shards(encoded, read_job(encoded))
    vectors = np.concatenate([np.load(encoded / f"{number:06}.npy") for number in range(7)])
    for most, step in ((100, 1), (99, 2), (10, 10), (3, 34), (1, 100)):
        monkeypatch.setattr(build_index_file, "_TRAINING", most)
        np.testing.assert_array_equal(build_index_file._sample_vectors(encoded, "npy", shards), vectors[::step])


def test_too_few_are_found_where_an_index_looks_at_some_only(encoded: Path, tmp_path: Path) -> None:
    build_index(encoded, tmp_path / "index", factory="IVF32,Flat")
    with PassageIndex.open(tmp_path / "index") as index:
        _, positions = index.search(np.load(encoded / "000000.npy"), 100)
    assert (positions == -1).any()


def refused(match: str, error: type[Exception], call: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(error, match=match):
        call(*arguments, **options)


def test_what_cannot_be_indexed_or_opened_is_one_clear_line(
    tiny: dict[str, Path], corpus: Path, encoded: Path, tmp_path: Path
) -> None:
    out, nope, many = tmp_path / "i", "Nope", "IVF1000,Flat"
    refused("exists: give another, or remove it", OSError, build_index, encoded)
    words = "FAISS refused factory 'Nope' for 100 passages: could not parse index string Nope"
    refused(words, ValueError, build_index, encoded, out, factory=nope)
    refused("FAISS refused factory 'IVF1000,Flat'", ValueError, build_index, encoded, out, factory=many)
    for factory, number in (("IVF0,Flat", "0"), ("PQ0", "0"), ("HNSW1", "HNSW1"), ("PCA00,Flat", "00")):
        words = f"factory is '{factory}', and FAISS cannot build '{number}'"
        refused(words, ValueError, build_index, encoded, out, factory=factory)
    refused("is not an encoded corpus: it has no corpus.json", OSError, build_index, tmp_path)
    part = tmp_path / "part"
    encode_corpus(tiny["context"], str(corpus), part, shard_size=16, backend="onnxruntime", part=(2, 2))
    refused(r"lacks 4 of its 7 shards \(0, 2, 4, 6\)", ValueError, build_index, part)
    opened, index_folder = PassageIndex.open, encoded / "index"
    refused("is not an index: it has no index.json", OSError, opened, tmp_path)
    refused("is an encoded corpus; its index is", OSError, opened, encoded)
    refused("parameters are 'bogus=1', and FAISS refused them", ValueError, opened, index_folder, "bogus=1")
    for bad in ("efSearch=-3", "efSearch=0", "efSearch=99999999999", "nprobe=x", "nprobe", ",,,", "nprobe=4,=5"):
        refused("parameters has '.*', and must be name=number, above 0", ValueError, opened, index_folder, bad)
    (tmp_path / "link").symlink_to("nowhere")
    refused("link exists: give another, or remove it", OSError, build_index, encoded, tmp_path / "link")
    with PassageIndex.open(index_folder) as index:
        narrow, fitting = np.zeros((1, 5), np.float32), np.zeros((1, 32), np.float32)
        refused(r"vectors has shape \(1, 5\), and must be \(n, 32\)", ValueError, index.search, narrow, 1)
        refused("top_k is 0, and must be at least 1", ValueError, index.search, fitting, 0)
        for position in (-1, 100):
            refused(f"positions has {position}, and must be from 0 to 99", IndexError, index.passages, [position])
    assert not (tmp_path / "i").exists()


def test_a_damaged_index_is_one_clear_line(encoded: Path, tmp_path: Path) -> None:
    for name, content, words in (
        ("vectors.faiss", b"short", "vectors.faiss is damaged"),
        ("index.json", b"{}", "lacks"),
        ("index.json", b'{"schema": 99}', "has schema 99"),
    ):
        folder = tmp_path / f"{name}-{len(content)}"
        build_index(encoded, folder)
        (folder / name).write_bytes(content)
        refused(words, ValueError, PassageIndex.open, folder)
    whole = {name: (encoded / "index" / name).read_bytes() for name in ("passages.jsonl", "offsets.npy")}
    for name, content in (
        ("passages.jsonl", None),
        ("passages.jsonl", b""),
        ("passages.jsonl", whole["passages.jsonl"][:-1]),
        ("offsets.npy", None),
        ("offsets.npy", b""),
        ("offsets.npy", whole["offsets.npy"][:-8]),
        ("offsets.npy", _npy(np.zeros(0, np.int64))),
        ("offsets.npy", _npy(np.float64(1.0))),
        ("offsets.npy", _npy(np.zeros((101, 2), np.int64))),
    ):
        folder = tmp_path / f"{name}-{content and len(content)}"
        build_index(encoded, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        refused(f"^{re.escape(str(folder))} is damaged: [^\n]+$", ValueError, PassageIndex.open, folder)
    folder = tmp_path / "letters"
    build_index(encoded, folder)
    (folder / "passages.jsonl").write_bytes(b"x" * len(whole["passages.jsonl"]))
    with PassageIndex.open(folder) as index:
        refused("passage 3 of the index is damaged", ValueError, index.passages, [3])
    refused("this index is closed", RuntimeError, index.passages, [3])
    refused("this index is closed", RuntimeError, index.search, np.zeros((1, 32), np.float32), 1)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("stored", ["npy", "parquet"])
def test_a_corpus_whose_shards_are_not_what_they_were_is_not_indexed(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path, stored: str
) -> None:
    folder = tmp_path / "c"
    encode_corpus(tiny["context"], corpus, folder, shard_size=16, backend="onnxruntime", stored=stored)
    data = folder / f"000003.{stored}"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1  # of the size that its record says
    data.write_bytes(content)
    refused(f"000003.{stored} is damaged, or another file: remove 000003.json", ValueError, build_index, folder)
    assert not (folder / "index").exists()
    (folder / "000003.json").unlink()
    encode_corpus(tiny["context"], corpus, folder, shard_size=16, backend="onnxruntime", stored=stored, resume=True)
    assert build_index(folder).passages == 100
    for damage in ({"rows": 15}, {"rows": 17}, {"rows": -5}, {"files": {}}):
        record = json.loads((folder / "000003.json").read_text())
        (folder / "000003.json").write_text(json.dumps({**record, **damage}))
        refused("000003.json is damaged: remove 000003.json", ValueError, build_index, folder, tmp_path / "i")
        (folder / "000003.json").write_text(json.dumps(record))
    job = (folder / "corpus.json").read_text()
    for name, value in (("shards", 5), ("shards", 10**15), ("shards", -1), ("passages", 7), ("passages", 113)):
        (folder / "corpus.json").write_text(json.dumps({**json.loads(job), name: value}))
        refused("corpus.json is damaged", ValueError, build_index, folder, tmp_path / "i")
    (folder / "corpus.json").write_bytes(b"\xff")
    refused("corpus.json is not UTF-8", ValueError, build_index, folder, tmp_path / "i")
    (folder / "corpus.json").write_text(job)
    assert not (tmp_path / "i").exists()
    other = tmp_path / "other"
    encode_corpus(tiny["context"], corpus, other, shard_size=16, backend="openvino", stored=stored)
    for path in other.glob("000005.*"):
        shutil.copy(path, folder)
    refused(
        r"lacks 1 of its 7 shards \(5\), or they belong to another job", ValueError, build_index, folder, tmp_path / "i"
    )


def test_a_question_encoder_of_another_width_is_refused(encoded: Path, checkpoint: Any, tmp_path: Path) -> None:
    export(str(checkpoint("question", projection_dim=24)), tmp_path / "other")
    with PassageIndex.open(encoded / "index") as index, DPRQuestionEncoder.from_pretrained(tmp_path / "other") as other:
        refused(
            "has dimension 24, and the index of .* has 32",
            ValueError,
            search,
            [Question("a")],
            other,
            index,
        )


def test_a_question_is_answered_from_what_is_found(tiny: dict[str, Path], encoded: Path) -> None:
    with (
        PassageIndex.open(encoded / "index") as index,
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as encoder,
        DPRReader.from_pretrained(tiny["reader"]) as reader,
    ):
        reply = ask("who wrote hamlet ?", encoder, index, reader, passages=7, top_k=3)
        (question,) = search(["who wrote hamlet ?"], encoder, index, top_k=7)
        (same,) = search([Question("who wrote hamlet ?", ("x",))], encoder, index, top_k=7)
        assert same.retrieved == question.retrieved
        assert search([], encoder, index) == []
        with pytest.raises(TypeError, match="questions is one string: give a list"):
            search("who ?", encoder, index)
        with pytest.raises(ValueError, match="question is empty"):
            ask(" ", encoder, index, reader)
        for name in ("passages", "top_k", "max_answer_length"):
            with pytest.raises(ValueError, match=f"{name} is 0, and must be"):
                ask("who ?", encoder, index, reader, **{name: 0})
        assert reply.retrieved == question.retrieved
        titles, texts = [each.title or "" for each in reply.retrieved], [each.text for each in reply.retrieved]
        assert reply.answers == reader.answer("who wrote hamlet ?", titles, texts, top_k=3)
    assert list(reply.seconds) == ["encode", "search", "read"]
    assert all(seconds > 0 for seconds in reply.seconds.values())


def run(*arguments: object, code: int = 0) -> str:
    done = run_command("dpr-runtime", *arguments, code=code)
    return done.stdout if code == 0 else done.stderr


def test_the_commands_go_from_a_table_to_an_answer(tiny: dict[str, Path], tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "passages.tsv", passages(30))
    run("encode", tiny["context"], file, tmp_path / "corpus")
    assert run("index", tmp_path / "corpus").startswith(f"Flat index of 30 passages in {tmp_path / 'corpus' / 'index'}")
    models = ("--question-encoder", tiny["question"])
    said = run("search", tmp_path / "corpus" / "index", *models, "--question", "who ?", "--top-k", "2")
    assert re.match(r"who \?\n  1  [^\n]+   -?[0-9.]+   id p[0-9]+\n", said)
    assert "\n  2  " in said
    assert "\n  3  " not in said
    (tmp_path / "q.tsv").write_text("who wrote it ?\t['x', \"y\"]\nwhat ?\t[]\n")
    several = ("--questions", tmp_path / "q.tsv", "-o", tmp_path / "found.json")
    run("search", tmp_path / "corpus" / "index", *models, *several)
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(each["question"], each["answers"], len(each["ctxs"])) for each in found] == [
        ("who wrote it ?", ["x", "y"], 30),
        ("what ?", [], 30),
    ]
    assert found[0]["ctxs"][0].keys() == {"id", "title", "text", "score", "has_answer"}
    assert len(read_questions(str(tmp_path / "found.json")).questions[0].retrieved or ()) == 30
    asked = ("ask", "--index", tmp_path / "corpus" / "index", *models, "--reader", tiny["reader"], "who wrote hamlet ?")
    assert "20 of 30 passages read: load " in run(*asked)
    reply = json.loads(run(*asked, "--json", "--passages", "3"))
    assert len(reply["passages"]) == 3
    assert reply["seconds"].keys() == {"load", "encode", "search", "read"}
    assert reply["answers"][0]["text"] in reply["passages"][reply["answers"][0]["passage"]]["text"]
    assert "give --question, or --questions FILE" in run("search", tmp_path / "corpus" / "index", *models, code=2)


def test_standard_streams_may_be_pipes_or_closed(tiny: dict[str, Path], encoded: Path, tmp_path: Path) -> None:
    command = [COMMAND, "search", encoded / "index", "--question-encoder", tiny["question"], "--top-k", "1"]
    asked = shlex.join(map(str, [*command, "--questions", "-"]))

    def ran(line: str, given: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(["sh", "-c", line], input=given, capture_output=True)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    code, said, _ = ran(f"{asked} -o /dev/stdout | cat", "\ufeffwho is it ?\n".encode())
    assert code == 0
    (found,) = json.loads(said[: said.rindex("]") + 1])
    assert found["question"] == "who is it ?"
    assert ran(f"{asked} <&-") == (1, "", "dpr-runtime: standard input is closed\n")
    assert ran(asked, b"who \xff\n")[::2] == (
        1,
        "dpr-runtime: - is not UTF-8 text: 'utf-8' codec can't decode byte 0xff in position 4: invalid start byte\n",
    )
    code, _, said = ran(f"{asked} -o {shlex.quote(str(tmp_path / 'found.json'))} >&-", b"who ?\n")
    assert (code, said) == (0, "")
    assert len(json.loads((tmp_path / "found.json").read_text())) == 1


def compared_by_cosine(folder: Path, output: Path) -> Path:
    """A copy of an exported folder whose manifest says that its vectors are compared by cosine."""
    shutil.copytree(folder, output)
    manifest = json.loads((output / "manifest.json").read_text())
    (output / "manifest.json").write_text(json.dumps({**manifest, "similarity": "cosine"}))
    return output


def test_vectors_that_are_compared_by_cosine_are_found_by_cosine(
    tiny: dict[str, Path], corpus: Path, encoded: Path, tmp_path: Path
) -> None:
    question, context = (compared_by_cosine(tiny[kind], tmp_path / kind) for kind in ("question", "context"))
    encode_corpus(context, str(corpus), tmp_path / "corpus", shard_size=16, backend="onnxruntime")
    for number in range(7):  # the shards hold the vectors as the model gives them
        name = f"{number:06}.npy"
        assert (tmp_path / "corpus" / name).read_bytes() == (encoded / name).read_bytes()
    record = build_index(tmp_path / "corpus")
    assert record.encoder.similarity == "cosine"
    rows = list(read_corpus(str(corpus)))
    vectors = np.concatenate([np.load(tmp_path / "corpus" / f"{number:06}.npy") for number in range(7)])
    with (
        PassageIndex.open(tmp_path / "corpus" / "index") as index,
        PassageIndex.open(encoded / "index") as by_inner_product,
        DPRQuestionEncoder.from_pretrained(question) as encoder,
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as other,
    ):
        found = search(QUESTIONS, encoder, index, top_k=100)
        for text, result in zip(QUESTIONS, found, strict=True):
            (vector,) = encoder.encode([text])
            cosines = vectors @ vector / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector))
            assert result.retrieved is not None
            scores = {each.id: each.score for each in result.retrieved}
            assert [scores[row.id] for row in rows] == pytest.approx(cosines.tolist(), abs=1e-5)
            assert result.retrieved[0].id == rows[int(cosines.argmax())].id
        refused("has similarity inner_product, and the index of .* has cosine", ValueError, search, ["a"], other, index)
        refused(
            "has similarity cosine, and the index of .* has inner_product",
            ValueError,
            search,
            ["a"],
            encoder,
            by_inner_product,
        )
