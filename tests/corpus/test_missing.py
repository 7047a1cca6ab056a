"""Libraries for corpora are imported when they are used, and the error for a missing one says what to install."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpr_export.runtime.corpus import Models, build_index, encode_corpus, read_corpus
from dpr_export.runtime.corpus.evaluation.evaluate import evaluate
from dpr_export.runtime.corpus.retrieval.questions import read_questions

LIBRARIES = ("faiss", "matplotlib", "pyarrow", "ray", "regex", "torch", "transformers")


def test_the_commands_start_without_them() -> None:
    code = f"import sys, dpr_export.runtime.cli.app\nprint(*({LIBRARIES!r} & sys.modules.keys()))"
    code = code.replace(repr(LIBRARIES), repr(set(LIBRARIES)))
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("name", ["faiss", "pyarrow", "ray", "regex"])
def test_a_missing_library_is_named_with_what_to_install(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model, out = tiny["context"], tmp_path / "out"
    (tmp_path / "a.parquet").write_bytes(b"")
    if name == "faiss":
        encode_corpus(model, str(corpus), out, backend="onnxruntime")
    (tmp_path / "found.json").write_text('[{"question": "who ?", "answers": ["x"], "ctxs": []}]')
    reader = Models(reader=str(tiny["reader"]))
    calls: dict[str, Any] = {
        "faiss": lambda: build_index(out),
        "pyarrow": lambda: list(read_corpus(str(tmp_path / "a.parquet"))),
        "ray": lambda: encode_corpus(model, str(corpus), out, backend="onnxruntime", ray="local"),
        "regex": lambda: list(evaluate(str(tmp_path / "found.json"), reader, variants=["onnxruntime-fp32"])),
    }
    assert read_questions(str(tmp_path / "found.json"))
    from dpr_export.runtime.corpus.retrieval import answer_matching as matching

    matching._token_pattern.cache_clear()
    matching.matching_tokens.cache_clear()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf'^{name} cannot be imported .*: pip install "dpr-export\[bulk\]"$'):
        calls[name]()
    assert name == "faiss" or not out.exists()
