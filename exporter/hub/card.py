"""The model card of an exported folder: the README.md that the hub shows, made from the manifest alone.

It says what stands in the manifest and nothing more, so that no number in it can be wrong by itself: where the model
came from, how its graphs were proved, what each lossy variant loses, and how to run it. The licence is the source's,
and where nobody states one the card says so.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpr_export.models.artifact.manifest import AccuracyDrop, Manifest, Variant
from dpr_export.models.artifact.variants import BOUNDS
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.cli.show_manifest import LABELS
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
    """Write the model card of an exported folder.

    Args:
        manifest: the folder's.
        repository: the name that it will be loaded by, "org/name".
        licence: the fields `license`, `license_name`, `license_link` of the source's own card, as far as it has them.

    Returns:
        Markdown, with the hub's front matter.
    """
    licence = {name: licence[name] for name in LICENCE_FIELDS if name in licence} if licence else {}
    parts = [
        _front_matter(manifest, licence),
        f"# {repository}",
        _origin(manifest),
        _usage(manifest, repository),
        _proofs(manifest),
        _losses([(variant, variant.accuracy_drop) for variant in manifest.variants if variant.accuracy_drop]),
        _files(manifest),
        _licence(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(manifest: Manifest, licence: Mapping[str, Any]) -> str:
    """The hub's fields; JSON's strings and lists are YAML's too."""
    fields: dict[str, Any] = dict(licence) or {"license": "unknown"}
    fields |= {"library_name": "dpr-export", "pipeline_tag": _TASKS[manifest.kind], "tags": ["dpr", "onnx"]}
    if manifest.source.revision:
        fields["base_model"] = manifest.source.name
    # YAML takes no DEL, which JSON leaves as it is; all else that it does not take, JSON escapes.
    lines = [f"{name}: {json.dumps(value)}".replace("\x7f", "?") for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _origin(manifest: Manifest) -> str:
    source, architecture = manifest.source, KINDS[manifest.kind].architecture
    if source.revision:
        name = _plain(source.name)
        where = f"[{name}](https://huggingface.co/{name}), commit `{_plain(source.revision)}`"
    else:
        where = f"`{_plain(source.name.rstrip('/').split('/')[-1])}`"  # a path says more of a machine than of a model
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return (
        f"A `{architecture}` of Dense Passage Retrieval as ONNX graphs (opset {manifest.opset}), exported with "
        f"dpr-export from {where}.\nIt runs without PyTorch.\n\n"
        f"SHA-256 of the weights that it was made from: `{_plain(source.sha256)}`.\nMade by {_plain(versions)}."
    )


def _usage(manifest: Manifest, repository: str) -> str:
    held = {variant.backend for variant in manifest.variants}
    extra = next((PIP_EXTRAS[backend] for backend in ("openvino", *PIP_EXTRAS) if backend in held), "cpu")
    architecture = KINDS[manifest.kind].architecture
    call = _CALLS[manifest.kind].format(repository=json.dumps(repository))
    return (
        f'## Run it\n\n```console\n$ pip install "dpr-export[{extra}]"\n```\n\n'
        f"```python\nfrom dpr_export.runtime import {architecture}\n\n{call}```\n\n"
        "The variant that suits the machine is downloaded, and no other."
    )


def _proofs(manifest: Manifest) -> str:
    rows = []
    for variant in manifest.variants:
        if proof := variant.parity:
            sizes = ", ".join(f"{batch}x{length}" for batch, length in proof.shapes)
            engine = _plain(proof.engine)
            engine += "" if variant.verified else f"; not compared on {_plain(variant.backend)} yet"
            error, share = f"{proof.largest_error:.1e}", f"{proof.share_of_tolerance:.1%}"
            rows.append([f"`{_plain(variant.file)}`", engine, sizes, error, share])
    if not rows:
        return ""
    return (
        "## How it was proved\n\n"
        "These graphs computed the same inputs as the original did in PyTorch. The largest difference between any two "
        "numbers:\n\n"
        + _table(["graph", "engine", "batch x sequence", "largest difference", "share of what is allowed"], rows)
    )


def _losses(lossy: Sequence[tuple[Variant, AccuracyDrop]]) -> str:
    if not lossy:
        return ""
    names = list(dict.fromkeys(name for _, loss in lossy for name in loss.metrics))
    rows = [
        [
            f"`{_plain(variant.file)}`",
            _plain(f"{variant.backend} {variant.precision}"),
            *(_figure(loss, name) for name in names),
            f"{variant.speedup:.2f}x" if variant.speedup else "-",
        ]
        for variant, loss in lossy
    ]
    rows.append(["at least", "", *(f"{BOUNDS[name]:.2f}" if name in BOUNDS else "-" for name in names), ""])
    settings = "\n".join(
        f"- `{_plain(v.file)}`: {_plain(loss.settings)}; measured by {_plain(loss.engine)}" for v, loss in lossy
    )
    return (
        "## What the faster variants lose\n\n"
        "What is kept of the fp32 graph, on texts that were not calibrated with (1 is no loss); metrics in bold are "
        "below the bound, and such a variant runs only where it is named. Speed is that of `onnx/model.onnx` on the "
        "same engine, where it was made.\n\n"
        + _table(["graph", "variant", *(LABELS.get(name, name) for name in names), "speed"], rows)
        + f"\n\n{settings}"
    )


def _figure(loss: AccuracyDrop, name: str) -> str:
    if name not in loss.metrics:
        return "-"
    shown = f"{loss.metrics[name]:.3f}"
    return f"**{shown}**" if name in loss.below_bound else shown


def _files(manifest: Manifest) -> str:
    rows = [
        [f"`{_plain(name)}`", f"{record.bytes:,}", f"`{_plain(record.sha256)}`"]
        for name, record in manifest.files.items()
    ]
    return "## Files\n\n" + _table(["file", "bytes", "SHA-256"], rows)


def _licence(licence: Mapping[str, Any]) -> str:
    if not licence:
        return "## Licence\n\nUnknown: the source has no model card that states one. Ask whoever published it."
    stated = "; ".join(str(value) if isinstance(value, str) else ", ".join(value) for value in licence.values())
    return f"## Licence\n\nThat of the source, as its model card states it: {_plain(stated)}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text on one line, which ends no cell of a table."""
    return " ".join(text.split()).replace("|", "?")


def _plain(text: str) -> str:
    """A manifest's text, on one line and without what Markdown or HTML would read: it may be a stranger's."""
    return _MARKUP.sub("?", " ".join(text.split()))
