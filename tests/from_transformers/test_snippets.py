"""The Python snippets of transformers' documentation and model card run, after the change of the one import line.

The documents are not part of this project. Where they are is said by DPR_EXPORT_REFERENCE, a folder of Markdown files;
without it nothing is run. Names on the hub are folders here, which a snippet finds in the folder that it runs in.
"""

import contextlib
import io
import os
import re
import textwrap
from pathlib import Path

import pytest

from dpr_export.models.kinds import KINDS

REFERENCE = os.environ.get("DPR_EXPORT_REFERENCE")
FENCE = re.compile(r"^[ \t]*```\w*[ \t]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
HUB_NAME = re.compile(r"\"(facebook/dpr-(question|ctx|reader)[\w.-]*)\"")
KIND_OF = {"question": "question", "ctx": "context", "reader": "reader"}
# What a snippet for TensorFlow says that is not said here: our classes take its calling convention as they are.
FROM_TENSORFLOW = (("TFDPR", "DPR"), (", from_pt=True", ""), ('"tf"', '"np"'))


def snippets() -> list[tuple[str, str]]:
    """Each piece of Python in the documents that uses transformers, with where it stands."""
    found = []
    for document in sorted(Path(REFERENCE).glob("*.md")) if REFERENCE else []:
        text = document.read_text(encoding="utf-8")
        for block in FENCE.finditer(text):
            code = textwrap.dedent(block[1])
            if ">>>" in code:
                lines = [line for line in code.splitlines() if line.startswith((">>>", "..."))]
                code = "\n".join(line[4:] for line in lines)
            if "transformers" in code:
                found.append((f"{document.stem}:{text[: block.start()].count(chr(10)) + 1}", code))
    return found


SNIPPETS = snippets()
FAMILIES = {
    "tensorflow": [pytest.param(code, id=place) for place, code in SNIPPETS if "TFDPR" in code],
    "configuration": [pytest.param(code, id=place) for place, code in SNIPPETS if "DPRConfig()" in code],
    "exported": [
        pytest.param(code, id=place) for place, code in SNIPPETS if "TFDPR" not in code and "DPRConfig()" not in code
    ],
}
needs_documents = pytest.mark.skipif(not REFERENCE, reason="DPR_EXPORT_REFERENCE names no folder of documents")


def run(code: str) -> tuple[dict[str, object], str]:
    """Run a snippet after the change of its import line; return its names, and what it printed."""
    changed = code.replace("from transformers import", "from dpr_export.runtime import")
    assert changed != code
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(changed, "snippet", "exec"), names)
    return names, printed.getvalue()


@pytest.fixture
def hub_names(tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder where every hub name of the snippets is an exported folder."""
    monkeypatch.chdir(tmp_path)
    for _, code in SNIPPETS:
        for name, kind in HUB_NAME.findall(code):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(tiny[KIND_OF[kind]], target_is_directory=True)


def outputs_are_there(names: dict[str, object]) -> bool:
    """Whether a snippet ended with what its kind of model gives."""
    expected = {"reader": ("start_logits", "end_logits", "relevance_logits"), "encoder": ("embeddings",)}
    return any(all(hasattr(names.get(name), "shape") for name in wanted) for wanted in expected.values())


@needs_documents
@pytest.mark.parametrize("code", FAMILIES["exported"])
@pytest.mark.usefixtures("hub_names")
def test_a_snippet_runs_after_the_change_of_its_import_line(code: str) -> None:
    names, printed = run(code)
    assert outputs_are_there(names) or printed
    assert ("print(" in code) == bool(printed)


@needs_documents
@pytest.mark.parametrize("code", FAMILIES["tensorflow"])
@pytest.mark.usefixtures("hub_names")
def test_a_snippet_for_tensorflow_runs_after_the_change_of_three_words_more(code: str) -> None:
    for theirs, ours in FROM_TENSORFLOW:
        code = code.replace(theirs, ours)
    names, _ = run(code)
    assert outputs_are_there(names)


@needs_documents
@pytest.mark.parametrize("code", FAMILIES["configuration"])
def test_a_configuration_alone_makes_no_exported_model(code: str) -> None:
    """Mended: transformers makes a model of random weights, which nobody has exported."""
    with pytest.raises(TypeError, match="DPRContextEncoder cannot be made of a configuration alone"):
        run(code)


@needs_documents
def test_every_kind_of_snippet_was_found() -> None:
    assert all(FAMILIES.values()), {family: len(members) for family, members in FAMILIES.items()}
    assert {kind for _, code in SNIPPETS for _, kind in HUB_NAME.findall(code)} == set(KIND_OF)
    assert set(KIND_OF.values()) == set(KINDS)


def test_snippets_are_found_in_fences_with_prompts_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text(
        "text\n```py\nfrom transformers import A\n```\n- item\n    ```python\n    >>> from transformers import B\n"
        "    >>> f(\n    ...     1\n    ... )\n    3\n    ```\n```\n[CLS] no code\n```\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(globals(), "REFERENCE", str(tmp_path))
    assert snippets() == [
        ("a:2", "from transformers import A\n"),
        ("a:6", "from transformers import B\nf(\n    1\n)"),
    ]
