"""Write the model card of an exported folder: the README.md that the hub shows, made from the manifest alone.

It shows the source, the results of the parity check, the accuracy of each lossy variant, and how to run the model. The
licence is the one that the source's own card states; without one, the card says so.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpr_export.models.artifact.manifest import Manifest
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.cli.show_manifest import (
    ACCURACY_LEGEND,
    PARITY_HEAD,
    absent_weights,
    accuracy_rows,
    parity_rows,
)
from dpr_export.runtime.inference.selection import PIP_EXTRAS

LICENCE_FIELDS = ("license", "license_name", "license_link")
_TASKS = {"question": "feature-extraction", "context": "feature-extraction", "reader": "question-answering"}
_MARKUP = re.compile(r"[^\w\s.,:;/@+%()=*'’…&~^$-]")
_CALLS = {
    "question": """\
with DPRQuestionEncoder.from_pretrained({repository}) as model:
    vectors = model.encode(["Who recorded What Is Love?"])  # float32 (1, dim)
    print(vectors.shape)
""",
    "context": """\
with DPRContextEncoder.from_pretrained({repository}) as model:
    vectors = model.encode(
        ["'What Is Love' is a song recorded by the artist Haddaway"],
        titles=["Haddaway"],
    )  # float32 (1, dim)
    print(vectors.shape)
""",
    "reader": """\
with DPRReader.from_pretrained({repository}) as reader:
    for answer in reader.answer(
        "Who recorded What Is Love?",
        titles=["Haddaway"],
        texts=["'What Is Love' is a song recorded by the artist Haddaway"],
    ):
        print(answer.text, answer.relevance_score)
""",
}


def model_card(manifest: Manifest, repository: str, licence: Mapping[str, Any] | None = None) -> str:
    """Return an exported folder's model card, in Markdown with the hub's front matter.

    Args:
        manifest: the folder's.
        repository: the name that it will be loaded by, "org/name".
        licence: the fields `license`, `license_name`, `license_link` that the source's own card has.
    """
    licence = {name: licence[name] for name in LICENCE_FIELDS if name in licence} if licence else {}
    parts = [
        _front_matter(manifest, licence),
        f"# {repository}",
        _origin(manifest),
        _usage(manifest, repository),
        _parity(manifest),
        _accuracy(manifest),
        _files(manifest),
        _licence(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(manifest: Manifest, licence: Mapping[str, Any]) -> str:
    """The fields that the hub reads. They are written as JSON strings and lists, which are valid YAML too."""
    fields: dict[str, Any] = dict(licence) or {"license": "unknown"}
    fields |= {"library_name": "dpr-export", "pipeline_tag": _TASKS[manifest.kind], "tags": ["dpr", "onnx"]}
    if manifest.source.revision:
        fields["base_model"] = manifest.source.name
    # JSON escapes every character that YAML forbids, except DEL.
    lines = [f"{name}: {json.dumps(value)}".replace("\x7f", "?") for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _origin(manifest: Manifest) -> str:
    source, architecture = manifest.source, KINDS[manifest.kind].architecture
    if source.revision:
        name = _plain(source.name)
        where = f"[{name}](https://huggingface.co/{name}), commit `{_plain(source.revision)}`"
    else:
        where = f"`{_plain(source.name.rstrip('/').split('/')[-1])}`"  # a full path would tell about the machine
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return (
        f"A `{architecture}` of Dense Passage Retrieval as ONNX graphs (opset {manifest.opset}), exported with "
        f"dpr-export from {where}.\nIt runs without PyTorch.\n\n"
        f"SHA-256 of the checkpoint's weights: `{_plain(source.sha256)}`.\nMade by {_plain(versions)}."
    )


def _usage(manifest: Manifest, repository: str) -> str:
    held = {variant.backend for variant in manifest.variants}
    extra = next((PIP_EXTRAS[backend] for backend in ("openvino", *PIP_EXTRAS) if backend in held), "cpu")
    architecture = KINDS[manifest.kind].architecture
    call = _CALLS[manifest.kind].format(repository=json.dumps(repository))
    return (
        f'## Run it\n\n```console\n$ pip install "dpr-export[{extra}]"\n```\n\n'
        f"```python\nfrom dpr_export.runtime import {architecture}\n\n{call}```\n\n"
        "Only the variant that suits the machine is downloaded."
    )


def _parity(manifest: Manifest) -> str:
    if not (rows := parity_rows(manifest)):
        return ""
    return (
        "## Parity check\n\n"
        "The graphs were run on the same inputs as the PyTorch model. The largest absolute difference of any output, "
        f"and its share of the tolerance (1e-5 x max|reference| plus an absolute part, {ATOL:g} by default):\n\n"
        + _table(PARITY_HEAD, rows)
        + "".join(f"\n\n{_plain(line)}." for line in absent_weights(manifest))
    )


def _accuracy(manifest: Manifest) -> str:
    if not (rows := accuracy_rows(manifest)):
        return ""
    drops = [(variant.file, variant.accuracy_drop) for variant in manifest.variants if variant.accuracy_drop]
    settings = "\n".join(
        f"- `{_plain(file)}`: {_plain(drop.settings)}; measured with {_plain(drop.engine)}" for file, drop in drops
    )
    return f"## Accuracy of the faster variants\n\n{ACCURACY_LEGEND}\n\n{_table(rows[0], rows[1:])}\n\n{settings}"


def _files(manifest: Manifest) -> str:
    rows = [[name, f"{record.bytes:,}", record.sha256] for name, record in manifest.files.items()]
    return "## Files\n\n" + _table(["file", "bytes", "SHA-256"], rows)


def _licence(licence: Mapping[str, Any]) -> str:
    if not licence:
        return "## Licence\n\nUnknown: the source has no model card that states one. Ask whoever published it."
    stated = "; ".join(str(value) if isinstance(value, str) else ", ".join(value) for value in licence.values())
    return f"## Licence\n\nAs the source's model card states it: {_plain(stated)}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text of a manifest on one line, without Markdown or HTML: the manifest may be a stranger's."""
    return _MARKUP.sub("?", " ".join(text.split()))
