"""The export, from a checkpoint's name to a folder of proved graphs: load, trace, prove, make variants, write.

torch and transformers take seconds to import, so they are imported when the arguments are known to be right and the
checkpoint is at hand: a wrong name is answered at once.
"""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.exporter.checkpoint.source import Checkpoint, Unsaid, found
from dpr_export.exporter.errors import ExportError
from dpr_export.models.artifact.atomic_writing import atomic_folder, is_exported
from dpr_export.models.artifact.folder import file_record, folder_records
from dpr_export.models.artifact.manifest import MANIFEST_FILE, Manifest, Source, Variant
from dpr_export.models.artifact.reference_outputs import ATOL
from dpr_export.models.artifact.variants import DEFAULT_BACKENDS, select_specs
from dpr_export.models.config import DPRConfig
from dpr_export.models.optional_outputs import OptionalOutputs
from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES
from dpr_export.runtime.inference.progress import Step, silent

if TYPE_CHECKING:
    from dpr_export.exporter.checkpoint.load import Original

OPSETS = range(18, 24)
DEFAULT_OPSET = 18
DEFAULT_PRECISIONS = ("fp32",)
_TRACERS = ("torch", "transformers", "tokenizers")


def default_output(source: str, kind: str | None = None) -> Path:
    """The folder an export goes to when none is named.

    A file of the first DPR code may hold two models, so its kind is in the name.

    >>> default_output("facebook/dpr-reader-single-nq-base").as_posix()
    'dpr-reader-single-nq-base-onnx'
    >>> default_output("trained/dpr_biencoder.cp", "question").as_posix()
    'dpr_biencoder-question-onnx'
    """
    if kind is not None:
        return Path(f"{Path(source).name.removesuffix('.cp')}-{kind}-onnx")
    return Path(f"{Path(source).resolve().name if Path(source).is_dir() else Path(source).name}-onnx")


def export(
    source: str,
    output: str | Path | None = None,
    *,
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    backends: Sequence[str] = DEFAULT_BACKENDS,
    calibration: str | Path | None = None,
    allow_loss: bool = False,
    revision: str | None = None,
    token: str | None = None,
    kind: str | None = None,
    tokenizer: str | Path | None = None,
    heads: int | None = None,
    opset: int | None = None,
    atol: float = ATOL,
    force: bool = False,
    output_hidden_states: bool | None = None,
    output_attentions: bool | None = None,
    inputs_embeds: bool = False,
    step: Step = silent,
) -> Manifest:
    """Turn a DPR checkpoint into a folder of ONNX graphs, proved equal to the original, and faster variants of them.

    Nothing is written at `output` unless every graph passed. A folder that was exported earlier is a source too: then
    variants are added to it, and no checkpoint is needed.

    Args:
        source: a checkpoint's folder, `demo/question`, `demo/context` or `demo/reader`, or a name on the hub; or an
            exported folder; or a file that the first DPR code wrote (`dpr_biencoder.39`, `hf_bert_base.cp`).
        output: the folder to write; None: `./NAME-onnx`, and `./NAME-KIND-onnx` of a file.
        precisions: what to make: "fp32", which is always made, "fp16", "int8".
        backends: for which engines: "onnxruntime", "openvino", "tensorrt".
        calibration: texts to calibrate with, .jsonl or .tsv of question, title and text; None: the project's own.
        allow_loss: write a variant that loses more than its bounds allow; nothing picks it by itself.
        revision: the hub's branch, tag or commit.
        token: the hub's access token.
        kind: with a file of the first DPR code, and with no other source: which model to take from it, "question",
            "context" or "reader".
        tokenizer: with such a file, the folder of its tokenizer.json or vocab.txt.
        heads: with such a file, the number of attention heads; None: the hidden size / 64.
        opset: the ONNX operator set of the graphs, 18 to 23; None: 18.
        atol: the absolute part of the largest difference allowed; the other part is 1e-5 x max|reference|.
        force: replace an exported folder that is there already, or its variants.
        output_hidden_states, output_attentions: whether the graph gives every layer's; None: as the checkpoint's
            configuration has it. Only fp32 is made of such a graph, and nothing in it is fused.
        inputs_embeds: also write a graph that takes embeddings in place of ids, `onnx/model_embeds.onnx`.
        step: told of each step as it begins and ends; see `progress.py`.

    Returns:
        The manifest of the folder.

    Raises:
        ExportError: the checkpoint cannot be had or exported, its graph differs from the original, or a variant loses
            more than its bounds allow.
        FileExistsError: `output` exists, and `force` was not given or it is no exported folder.
        ValueError: a precision, a backend, `opset` or `atol` is out of bounds; the calibration file is wrong.

    Example:
        >>> from dpr_export.exporter import export
        >>> export("demo/reader", "reader-onnx", precisions=["fp32", "int8"]).kind       # doctest: +SKIP
        'reader'
    """
    if opset is not None and opset not in OPSETS:
        raise ValueError(f"opset is {opset}, and must be within {OPSETS.start}..{OPSETS.stop - 1}")
    if not 0 < atol < 1:
        raise ValueError(f"atol is {atol}, and must be above 0 and below 1")
    try:
        from dpr_export.quantization.add import add_variants, calibration_texts, readable
    except ModuleNotFoundError as error:
        raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
    try:
        if is_exported(Path(source)):
            _refuse(
                source,
                output=output,
                revision=revision,
                kind=kind,
                tokenizer=tokenizer,
                heads=heads,
                opset=opset,
                output_hidden_states=output_hidden_states,
                output_attentions=output_attentions,
                inputs_embeds=inputs_embeds or None,
            )
            return add_variants(
                source,
                precisions=precisions,
                backends=backends,
                calibration=calibration,
                atol=atol,
                allow_loss=allow_loss,
                force=force,
                step=step,
            )
        unsaid = Unsaid(kind, tokenizer, heads)
        specs, texts = select_specs(precisions, backends), calibration_texts(calibration)
        for name, given in (("calibration", calibration is not None), ("allow_loss", allow_loss)):
            if given and not any(spec.lossy for spec in specs):
                raise ValueError(f"{name} is given, and only fp32 is made, which loses nothing: give a precision too")
        folder = Path(output) if output is not None else default_output(source, kind)
        with atomic_folder(folder, force) as making, found(source, revision, token, step, unsaid) as checkpoint:
            asked = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
            original = _loaded(checkpoint, making, asked, step)
            from dpr_export.exporter.graphs import Graphs

            texts = readable(texts, original.kind)
            optional_outputs = OptionalOutputs(
                *(getattr(original.config, name) if a is None else a for name, a in asked.items())
            )
            graphs = Graphs(original, making, texts, opset or DEFAULT_OPSET, atol, allow_loss, optional_outputs, step)
            variants = graphs.make(specs, inputs_embeds)
            with step(f"write {folder}"):
                manifest = _manifest(original, checkpoint, making, variants, opset or DEFAULT_OPSET)
                (making / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        return manifest
    except ExportError:
        raise
    except RuntimeError as error:
        raise ExportError(str(error)) from error


def _refuse(source: str, **given: object) -> None:
    """Refuse arguments that are for checkpoints alone."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is given, and {source} is an exported folder: variants are added to it")


def _loaded(checkpoint: Checkpoint, making: Path, asked: Mapping[str, bool | None], step: Step) -> "Original":
    """Load the original, and write its tokenizer and its configuration.

    What the graph is not to give, although the configuration has it as a default, is no default there any more.
    """
    with step(f"load {checkpoint.name}"):
        try:
            from dpr_export.exporter.checkpoint.load import load
        except ModuleNotFoundError as error:
            raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
        original = load(checkpoint)
        _write_tokenizer(original, checkpoint, making)
        refused = {name: False for name, wanted in asked.items() if wanted is False}
        DPRConfig.from_dict(original.config.to_dict() | refused).save_pretrained(making)
    return original


def _write_tokenizer(original: "Original", checkpoint: Checkpoint, making: Path) -> None:
    try:
        tokenizer = TOKENIZER_CLASSES[original.kind.name].from_pretrained(checkpoint.folder)
    except (OSError, ValueError) as error:
        raise ExportError(f"{checkpoint.name} has no tokenizer that can be read: {error}") from None
    if len(tokenizer) > original.config.vocab_size:
        raise ExportError(
            f"the tokenizer of {checkpoint.name} has {len(tokenizer)} entries, and the model's vocabulary "
            f"{original.config.vocab_size}"
        )
    tokenizer.save_pretrained(making)


def _manifest(
    original: "Original", checkpoint: Checkpoint, making: Path, variants: tuple[Variant, ...], opset: int
) -> Manifest:
    from dpr_export.quantization.add import MAKERS, installed_versions

    return Manifest(
        kind=original.kind.name,
        source=Source(checkpoint.name, checkpoint.revision, file_record(checkpoint.weights).sha256),
        versions={"python": platform.python_version(), **installed_versions((*MAKERS, *_TRACERS))},
        opset=opset,
        variants=variants,
        files=folder_records(making),
    )
