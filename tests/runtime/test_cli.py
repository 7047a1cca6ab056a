"""`dpr-runtime` as a person meets it: what it prints, its exit codes, one line for every error."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder
from dpr_export.runtime.cli.show_answers import sentence_around
from tests.commands import run_command

COMMAND = Path(sys.executable).with_name("dpr-runtime")


run = partial(run_command, "dpr-runtime")


def error_of(*arguments: object, code: int = 1, stdin: str = "") -> str:
    done = run(*arguments, code=code, stdin=stdin)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dpr-runtime: ")
    return done.stderr


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "passages.jsonl"
    rows = [
        {"title": "Hamlet", "text": "It is a play. The play was by Shakespeare in Paris. It was."},
        {"text": "a river"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return path


def test_answers_are_ranked_and_marked_in_their_sentence(tiny: dict[str, Path], passages: Path) -> None:
    shown = run("answer", tiny["reader"], "--question", "who wrote it ?", "--passages", passages).stdout
    listed = json.loads(
        run("answer", tiny["reader"], "--question", "who wrote it ?", "--passages", passages, "--json").stdout
    )
    assert len(listed) == 2
    assert listed[0]["relevance_score"] >= listed[1]["relevance_score"]
    for rank, answer in enumerate(listed, start=1):
        assert f"{rank}  {answer['text']}   relevance {answer['relevance_score']:.2f}" in shown
        assert f"[{answer['text']}]" in shown
    assert "passage 2: " in shown
    assert shown.startswith("who wrote it ?\n")


def test_passages_may_be_given_one_by_one(tiny: dict[str, Path]) -> None:
    arguments = ("answer", tiny["reader"], "--question", "who ?", "--json")
    given = json.loads(
        run(*arguments, "--title", "t", "--text", "a play", "--title", "u", "--text", "the river").stdout
    )
    assert {answer["title"] for answer in given} == {"t", "u"}
    assert len(json.loads(run(*arguments, "--text", "a play", "--text", "b", "--top-k", "1").stdout)) == 1
    (short,) = json.loads(run(*arguments, "--text", "a play by the river in paris", "--max-answer-length", "1").stdout)
    assert short["span"]["start_index"] == short["span"]["end_index"]
    piped = run(*arguments, "--passages", "-", stdin='{"title": "t", "text": "a play"}\n').stdout
    assert json.loads(piped)[0]["title"] == "t"
    assert "no answer" in run("answer", tiny["reader"], "--question", "who ?", "--text", "").stdout


def test_questions_are_encoded_from_standard_input_and_from_a_file(tiny: dict[str, Path], tmp_path: Path) -> None:
    lines = ["who wrote hamlet ?", "", "what is paris ?"]
    (tmp_path / "questions.txt").write_text("\n".join(lines) + "\n")
    real = [COMMAND, "encode", tiny["question"], "-", tmp_path / "a.npy"]
    subprocess.run(real, input="\n".join(lines) + "\n", text=True, check=True)
    done = run("encode", tiny["question"], tmp_path / "questions.txt", tmp_path / "b.npy")
    assert "3 texts to" in done.stderr
    with DPRQuestionEncoder.from_pretrained(tiny["question"]) as model:
        expected = model.encode(lines)
    for name in ("a.npy", "b.npy"):
        np.testing.assert_allclose(np.load(tmp_path / name), expected, atol=1e-6)


def test_passages_are_encoded_with_their_titles(tiny: dict[str, Path], passages: Path, tmp_path: Path) -> None:
    run("encode", tiny["context"], passages, tmp_path / "v.npy")
    rows = [json.loads(line) for line in passages.read_text().splitlines() if line]
    with DPRContextEncoder.from_pretrained(tiny["context"]) as model:
        expected = model.encode([row["text"] for row in rows], [row.get("title") for row in rows])
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, atol=1e-6)


def test_an_untitled_passage_gets_the_same_vector_whatever_stands_beside_it(
    tiny: dict[str, Path], passages: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone.jsonl").write_text(passages.read_text().splitlines()[1] + "\n")
    run("encode", tiny["context"], passages, tmp_path / "both.npy")
    run("encode", tiny["context"], tmp_path / "alone.jsonl", tmp_path / "alone.npy")
    np.testing.assert_allclose(np.load(tmp_path / "both.npy")[1], np.load(tmp_path / "alone.npy")[0], atol=1e-6)
    run("encode", tiny["context"], "-", "--format", "jsonl", tmp_path / "piped.npy", stdin=passages.read_text())
    assert np.array_equal(np.load(tmp_path / "piped.npy"), np.load(tmp_path / "both.npy"))


def test_no_texts_make_an_empty_file_of_vectors(tiny: dict[str, Path], tmp_path: Path) -> None:
    run("encode", tiny["question"], "-", tmp_path / "v.npy", stdin="")
    assert np.load(tmp_path / "v.npy").shape == (0, 32)


def test_inspect_shows_the_manifest_and_gives_it_as_json(tiny: dict[str, Path]) -> None:
    shown = run("inspect", tiny["reader"]).stdout
    manifest = json.loads(run("inspect", tiny["reader"], "--json").stdout)
    assert manifest == json.loads((tiny["reader"] / "manifest.json").read_text())
    for name in manifest["files"]:
        assert name in shown
    assert manifest["source"]["sha256"] in shown


def test_what_a_manifest_says_is_shown_as_it_is(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Brackets are no markup, and control characters do not reach the terminal."""
    shutil.copytree(tiny["reader"], tmp_path / "odd")
    manifest = json.loads((tmp_path / "odd" / "manifest.json").read_text())
    manifest["source"]["name"] = "markup [/b] \x1b]0;title\x07"
    manifest["similarity"] = "cosine"
    (tmp_path / "odd" / "manifest.json").write_text(json.dumps(manifest))
    shown = run("inspect", tmp_path / "odd").stdout
    assert "markup [/b] \ufffd]0;title\ufffd" in shown
    assert "vectors are compared by cosine" in shown


def test_verify_passes_on_what_was_exported_and_fails_on_what_was_changed(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    for folder in tiny.values():
        assert run("verify", folder).stdout.endswith("PASSED\n")
    shutil.copytree(tiny["question"], tmp_path / "changed")
    graph = tmp_path / "changed" / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 0xFF
    graph.write_bytes(content)
    shown = run("verify", tmp_path / "changed", code=1).stdout
    assert "FAILED  onnx/model.onnx: onnx/model.onnx has SHA-256" in shown
    assert shown.splitlines()[-1].startswith("FAILED: ")


def test_verify_compares_with_the_reference_outputs(tiny: dict[str, Path], tmp_path: Path) -> None:
    """A folder whose hashes are right, but whose graph is another model's, fails."""
    shutil.copytree(tiny["question"], tmp_path / "other")
    shutil.copy(tiny["context"] / "reference_outputs.npz", tmp_path / "other" / "reference_outputs.npz")
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    graph = tmp_path / "other" / "onnx" / "model.onnx"
    onnx = pytest.importorskip("onnx")

    model = onnx.load(graph)
    weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [32, 64])
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(model, graph)
    from dpr_export.models.artifact.folder import hash_file

    for name in ("onnx/model.onnx", "reference_outputs.npz"):
        record = hash_file(tmp_path / "other" / name)
        manifest["files"][name] = {"bytes": record.bytes, "sha256": record.sha256}
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    shown = run("verify", tmp_path / "other", code=1).stdout
    for backend in ("onnxruntime", "openvino"):
        assert re.search(
            rf"FAILED  onnx/model.onnx on {backend}: parity check failed: pooler_output at \d x \d+ differs", shown
        )
    assert shown.splitlines()[-1] == "FAILED: 2 checks"


def test_every_error_is_one_line(tiny: dict[str, Path], tmp_path: Path) -> None:
    reader, question = tiny["reader"], tiny["question"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"title": "t"}\n')
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    ask = ("answer", reader, "--question", "who ?")
    assert "dpr-export nowhere -o nowhere-onnx" in error_of("answer", "nowhere", "--question", "q", "--text", "t")
    assert "holds a DPRQuestionEncoder, not a DPRReader" in error_of(
        "answer", question, "--question", "q", "--text", "t"
    )
    assert 'line 1: "text" is missing, and must be a string' in error_of(*ask, "--passages", bad)
    assert "line 1: not JSON" in error_of(*ask, "--passages", broken)
    assert "No such file" in error_of(*ask, "--passages", tmp_path / "none.jsonl")
    assert "/dev/null holds no passages" in error_of(*ask, "--passages", "/dev/null")
    assert "there are no passages" in error_of(*ask, code=2)
    assert "--title is given 1 times and --text 2 times" in error_of(
        *ask, "--title", "t", "--text", "a", "--text", "b", code=2
    )
    assert "give --passages, or --title and --text, not both" in error_of(
        *ask, "--passages", bad, "--text", "a", code=2
    )
    assert "--top-k" in error_of(*ask, "--text", "a", "--top-k", "0", code=2)
    assert "No such option" in error_of(*ask, "--no-such", code=2)
    assert "which computes no vectors" in error_of("encode", reader, "-", tmp_path / "v.npy", stdin="x")
    assert "there is no folder" in error_of("encode", question, "-", tmp_path / "none" / "v.npy", stdin="x")
    assert "only a context encoder writes one" in error_of("encode", question, "-", tmp_path, stdin="x")
    (tmp_path / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    assert "latin1.txt is not UTF-8 text" in error_of("encode", question, tmp_path / "latin1.txt", tmp_path / "v.npy")
    (tmp_path / "latin1.txt").unlink()
    assert "is not an exported folder" in error_of("inspect", tmp_path)
    assert "is not an exported folder" in error_of("verify", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "broken.jsonl"]


def test_the_version_is_that_of_the_installed_package() -> None:
    assert run("--version").stdout == f"dpr-runtime {version('dpr-export')}\n"


def test_help_says_what_each_command_does() -> None:
    shown = run("--help").stdout
    for name in ("answer", "encode", "inspect", "verify"):
        assert name in shown
        assert "--help" in run(name, "--help").stdout


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(tiny: dict[str, Path]) -> None:
    done = subprocess.run(
        f"{COMMAND} inspect {tiny['reader']} --json | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "piece", "sentence"),
    [
        ("One. Two is here. Three.", "Two", "Two is here. "),
        ("One. Two", "Two", "Two"),
        ("No end", "end", "No end"),
        ("At 3.5 km it ends. Then more.", "3.5", "At 3.5 km it ends. "),
        ("He left. (In 1900.) Then war.", "1900", "(In 1900.) "),
        ("The answer is here.", "here.", "The answer is here."),
    ],
)
def test_the_sentence_around_a_piece_of_text(text: str, piece: str, sentence: str) -> None:
    start = text.index(piece)
    begin, end = sentence_around(text, start, start + len(piece))
    assert text[begin:end] == sentence
