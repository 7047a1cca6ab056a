"""The export, from a checkpoint's name to a proved folder: load, trace, prove, write.

torch and transformers take seconds to import, so they are imported when the arguments are known to be right and the
checkpoint is at hand: a wrong name is answered at once.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.progress import Step, silent
from dpr_export.exporter.source import Checkpoint, found
from dpr_export.models.folder import check_output, file_record, folder_records, written_whole
from dpr_export.models.golden import ATOL, write_golden
from dpr_export.models.manifest import GOLDEN_FILE, MANIFEST_FILE, Manifest, Source, Variant
from dpr_export.models.variants import VARIANTS
from dpr_export.runtime.processors import usable_processors
from dpr_export.runtime.session import open_session

if TYPE_CHECKING:
    from dpr_export.exporter.load import Original

OPSETS = range(18, 24)
DEFAULT_OPSET = 18
_MAKERS = ("dpr-export", "torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")


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
    revision: str | None = None,
    token: str | None = None,
    opset: int = DEFAULT_OPSET,
    atol: float = ATOL,
    force: bool = False,
    step: Step = silent,
) -> Manifest:
    """Turn a DPR checkpoint into a folder of ONNX graphs, proved equal to the original.

    Nothing is written at `output` unless every proof passed.

    Args:
        source: a checkpoint's folder, `demo/question`, `demo/context` or `demo/reader`, or a name on the hub.
        output: the folder to write; None: `./NAME-onnx`.
        revision: the hub's branch, tag or commit.
        token: the hub's access token.
        opset: the ONNX operator set of the graphs, 18 to 23.
        atol: the absolute part of the largest difference allowed; the other part is 1e-5 x max|reference|.
        force: replace an exported folder that is there already.
        step: told of each step as it begins and ends; see `progress.py`.

    Returns:
        The manifest of the new folder.

    Raises:
        ExportError: the checkpoint cannot be had or exported, or its graph differs from the original.
        FileExistsError: `output` exists, and `force` was not given or it is no exported folder.
        ValueError: `opset` or `atol` is out of bounds.

    Example:
        >>> from dpr_export.exporter import export
        >>> export("demo/reader", "reader-onnx").kind       # doctest: +SKIP
        'reader'
    """
    if opset not in OPSETS:
        raise ValueError(f"opset is {opset}, and must be within {OPSETS.start}..{OPSETS.stop - 1}")
    if not 0 < atol < 1:
        raise ValueError(f"atol is {atol}, and must be above 0 and below 1")
    folder = Path(output) if output is not None else default_output(source)
    check_output(folder, force)
    with written_whole(folder, force) as making, found(source, revision, token, step) as checkpoint:
        with step(f"load {source}"):
            try:
                from dpr_export.exporter.load import load
                from dpr_export.exporter.trace import trace
                from dpr_export.exporter.weights import check_weights
            except ModuleNotFoundError as error:
                raise ExportError(f'{error.name} is not installed: pip install "dpr-export[export]"') from None
            original = load(checkpoint)
            _write_tokenizer(original, checkpoint, making)
        with step("trace with torch.onnx"):
            original.config.save_pretrained(making)
            (making / "onnx").mkdir()
            trace(original, making / VARIANTS[0].file, opset)
        with step("prove against PyTorch"):
            check_weights(original.model, making / VARIANTS[0].file)
            variants = _prove(original, making, atol)
        with step(f"write {folder}"):
            manifest = _manifest(original, checkpoint, making, variants, opset)
            (making / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


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


def _prove(original: "Original", making: Path, atol: float) -> tuple[Variant, ...]:
    """Prove every variant, and keep a few examples in the folder for `dpr-runtime verify`."""
    from dpr_export.exporter.prove import GOLDEN_SHAPES, examples, prove

    calls = list(examples(original))
    proved = []
    for spec in VARIANTS:
        session = open_session(spec.backend, making / spec.file, device="cpu", threads=usable_processors())
        try:
            proved.append(Variant(spec.backend, spec.precision, spec.file, prove(session, calls, atol)))
        finally:
            session.close()
    write_golden(making / GOLDEN_FILE, list(examples(original, GOLDEN_SHAPES)))
    return tuple(proved)


def _manifest(
    original: "Original", checkpoint: Checkpoint, making: Path, variants: tuple[Variant, ...], opset: int
) -> Manifest:
    versions = {name: version(name) for name in _MAKERS}
    return Manifest(
        kind=original.kind.name,
        source=Source(checkpoint.name, checkpoint.revision, file_record(checkpoint.weights).sha256),
        versions={"python": platform.python_version(), **versions},
        opset=opset,
        variants=variants,
        files=folder_records(making),
    )
