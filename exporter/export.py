"""The export, from a checkpoint's name to a folder of proved graphs: load, trace, prove, make variants, write.

torch and transformers take seconds to import, so they are imported when the arguments are known to be right and the
checkpoint is at hand: a wrong name is answered at once.
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.source import Checkpoint, found
from dpr_export.models.folder import file_record, folder_records, is_exported, written_whole
from dpr_export.models.golden import ATOL, Example, write_golden
from dpr_export.models.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest, Source, Variant
from dpr_export.models.variants import DEFAULT_BACKENDS, MODEL_FILE, wanted
from dpr_export.runtime.progress import Step, silent

if TYPE_CHECKING:
    from dpr_export.exporter.load import Original

OPSETS = range(18, 24)
DEFAULT_OPSET = 18
DEFAULT_PRECISIONS = ("fp32",)
_TRACERS = ("torch", "transformers", "tokenizers")


def default_output(source: str) -> Path:
    """The folder an export goes to when none is named.

    >>> default_output("facebook/dpr-reader-single-nq-base").as_posix()
    'dpr-reader-single-nq-base-onnx'
    """
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
    opset: int | None = None,
    atol: float = ATOL,
    force: bool = False,
    step: Step = silent,
) -> Manifest:
    """Turn a DPR checkpoint into a folder of ONNX graphs, proved equal to the original, and faster variants of them.

    Nothing is written at `output` unless every graph passed. A folder that was exported earlier is a source too: then
    variants are added to it, and no checkpoint is needed.

    Args:
        source: a checkpoint's folder, `demo/question`, `demo/context` or `demo/reader`, or a name on the hub; or an
            exported folder.
        output: the folder to write; None: `./NAME-onnx`.
        precisions: what to make: "fp32", which is always made, "fp16", "int8".
        backends: for which engines: "onnxruntime", "openvino", "tensorrt".
        calibration: texts to calibrate with, .jsonl or .tsv of question, title and text; None: the project's own.
        allow_loss: write a variant that loses more than its bounds allow; nothing picks it by itself.
        revision: the hub's branch, tag or commit.
        token: the hub's access token.
        opset: the ONNX operator set of the graphs, 18 to 23; None: 18.
        atol: the absolute part of the largest difference allowed; the other part is 1e-5 x max|reference|.
        force: replace an exported folder that is there already, or its variants.
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
        from dpr_export.quantization.add import add_variants, calibration_texts, make_variants, readable
        from dpr_export.quantization.variants import Maker
    except ModuleNotFoundError as error:
        raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
    try:
        if is_exported(Path(source)):
            _refuse(source, output=output, revision=revision, opset=opset)
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
        specs, texts = wanted(precisions, backends), calibration_texts(calibration)
        folder = Path(output) if output is not None else default_output(source)
        with written_whole(folder, force) as making, found(source, revision, token, step) as checkpoint:
            original = _traced(checkpoint, making, opset or DEFAULT_OPSET, step)
            texts = readable(texts, original.kind)
            with step("run PyTorch on the grid"):
                grid, golden = _examples(original)
            write_golden(making / GOLDEN_FILE, golden)
            maker = Maker(original.kind, making, grid, golden, texts, atol, allow_loss, step)
            variants = make_variants(maker, specs, making)
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


def _traced(checkpoint: Checkpoint, making: Path, opset: int, step: Step) -> "Original":
    """Load the original, and write its configuration, tokenizer and `model.onnx`, which holds all of its weights."""
    with step(f"load {checkpoint.name}"):
        try:
            from dpr_export.exporter.load import load
            from dpr_export.exporter.trace import trace
            from dpr_export.exporter.weights import check_weights
        except ModuleNotFoundError as error:
            raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
        original = load(checkpoint)
        _write_tokenizer(original, checkpoint, making)
        original.config.save_pretrained(making)
    with step("trace with torch.onnx"):
        (making / "onnx").mkdir()
        trace(original, making / MODEL_FILE, opset)
        check_weights(original.model, making / MODEL_FILE)
    return original


def _write_tokenizer(original: "Original", checkpoint: Checkpoint, making: Path) -> None:
    try:
        tokenizer = original.kind.tokenizer_class.from_pretrained(checkpoint.folder)
    except (OSError, ValueError) as error:
        raise ExportError(f"{checkpoint.name} has no tokenizer that can be read: {error}") from None
    if len(tokenizer) > original.config.vocab_size:
        raise ExportError(
            f"the tokenizer of {checkpoint.name} has {len(tokenizer)} entries, and the model's vocabulary "
            f"{original.config.vocab_size}"
        )
    tokenizer.save_pretrained(making)


def _examples(original: "Original") -> tuple[list[Example], list[Example]]:
    """The original's outputs over the grid, and to the few examples that are kept in the folder."""
    from dpr_export.exporter.prove import GOLDEN_SHAPES, examples

    return list(examples(original)), list(examples(original, GOLDEN_SHAPES))


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
