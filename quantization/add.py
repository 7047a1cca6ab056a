"""Make the variants of a folder, and add some to one that was exported earlier, without its checkpoint.

There the right outputs are those of `model.onnx`, which was proved when the folder was made; what it differed from the
original by is added to every difference to it. Everything is made beside the folder's own files first; then the new
graphs are renamed into place, and the manifest last: whoever reads the folder meanwhile sees it as it was, or with the
new variants.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.models.artifact.atomic_writing import lock_folder
from dpr_export.models.artifact.folder import ExportedFolder, add_files
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Manifest, Variant
from dpr_export.models.artifact.reference_outputs import Example, read_reference_outputs, select_examples
from dpr_export.models.artifact.variant_options import VariantOptions
from dpr_export.models.artifact.variants import MODEL_FILE, VariantSpec
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import IDS, KINDS, Kind
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, Texts, read_texts
from dpr_export.quantization.variants import REFERENCE, Maker, opened
from dpr_export.runtime.checks.parity import make_grid
from dpr_export.runtime.inference.progress import Step, silent

MAKERS = ("dpr-export", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def make_variants(maker: Maker, specs: Iterable[VariantSpec], output: Path) -> tuple[Variant, ...]:
    """Make variants, their graphs below `output`.

    Raises:
        ParityError, QuantizationError: as `Maker.make`.
    """
    made = []
    for spec in specs:
        graph = (output if spec.recipe else maker.folder) / spec.file
        graph.parent.mkdir(exist_ok=True)
        made.append(maker.make(spec, graph))
    return tuple(variant for variant in made if variant is not None)


def add_variants(folder: str | Path, options: VariantOptions, step: Step = silent) -> Manifest:
    """Make more variants of an exported folder, from its `model.onnx`.

    Args:
        folder: the exported folder.
        options: which variants to make; `force` makes again those that the folder has.
        step: called with the name of each step.

    Returns:
        The folder's new manifest.

    Raises:
        OSError: the folder is not an exported folder, or cannot be written.
        ValueError: the folder is damaged, or has all these variants already.
        ParityError, QuantizationError: a variant fails the parity check, or its metrics are below their bounds; then
            nothing is changed.
    """
    specs = options.specs
    found = ExportedFolder.read(folder)
    kind = KINDS[found.manifest.kind]
    texts = readable(calibration_texts(options.calibration), kind)
    with lock_folder(found.path):
        start = ExportedFolder.read(folder)
        found = _sound_but_for(start, {spec.file for spec in specs if spec.recipe})
        held = {(variant.backend, variant.file) for variant in found.manifest.variants}
        missing = [spec for spec in specs if (spec.backend, spec.file) not in held or (options.force and spec.recipe)]
        if not missing:
            can_force = any(spec.recipe for spec in specs) and not options.force
            again = ": make it again with force (--force)" if can_force else ""
            raise ValueError(f"{folder} holds all of this already{again}")
        calls, reference_error = _reference(found, kind)
        golden = select_examples(read_reference_outputs(found.path / REFERENCE_OUTPUTS_FILE), IDS)
        maker = Maker(kind, found.path, calls, golden, texts, options.atol, options.allow_loss, step, reference_error)
        with TemporaryDirectory(prefix=".making.", dir=found.path) as making:
            made = make_variants(maker, missing, Path(making))
            if ExportedFolder.read(folder).manifest != start.manifest:
                raise QuantizationError(f"{folder} was replaced meanwhile: nothing is added to it")
            versions = found.manifest.versions | installed_versions(MAKERS)
            return add_files(replace(found, manifest=replace(found.manifest, versions=versions)), made, Path(making))


def _sound_but_for(folder: ExportedFolder, files: Collection[str]) -> ExportedFolder:
    """The folder without those of `files` that are lost or damaged, which can be made again.

    Raises:
        ValueError: another file is damaged.
    """
    lost = {name for name in folder.manifest.files if name in files and folder.find_problem(name)}
    variants = tuple(variant for variant in folder.manifest.variants if variant.file not in lost)
    records = {name: record for name, record in folder.manifest.files.items() if name not in lost}
    sound = replace(folder, manifest=replace(folder.manifest, variants=variants, files=records))
    sound.check(verify=True)
    return sound


def _reference(folder: ExportedFolder, kind: Kind) -> tuple[list[Example], float]:
    """The outputs of `model.onnx` over the grid, and how far they were from the original's when that was proved.

    Raises:
        ValueError: the manifest has no proof of it.
    """
    reference = (MODEL_FILE, REFERENCE)
    found = [v for v in folder.manifest.variants if (v.file, v.backend) == reference and v.parity]
    proofs = [variant.parity for variant in found if variant.parity]
    if not proofs:
        raise ValueError(
            f"{folder.path} holds no {MODEL_FILE} that was proved, of which variants are made: export it again"
        )
    if extras := found[0].optional_outputs:
        raise ValueError(
            f"{folder.path} was exported with {' and '.join(extras)}: no variants are made of such a graph; export the "
            "checkpoint once more without them"
        )
    with opened(REFERENCE, folder.path / MODEL_FILE) as session:
        calls = [
            Example(feeds, session.run(feeds)) for feeds in make_grid(kind, DPRConfig.from_pretrained(folder.path))
        ]
    return calls, proofs[0].largest_error


def calibration_texts(file: str | Path | None) -> Texts:
    """The texts of a file, or the project's own.

    Raises:
        OSError, ValueError: as `read_texts`; the message names the argument.
    """
    try:
        return read_texts(CALIBRATION_SET_FILE if file is None else Path(file))
    except OSError as error:
        raise OSError(f"calibration {file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"calibration {error}") from None


def readable(texts: Texts, kind: Kind) -> Texts:
    """The rows that have what a kind of model reads.

    Raises:
        ValueError: there are none.
    """
    needed = [name for name in kind.columns if name != "title"]
    rows = tuple(row for row in texts.rows if all(getattr(row, name).strip() for name in needed))
    if not rows:
        raise ValueError(f"calibration: no row has {' and '.join(needed)}, which a {kind.name} model reads")
    return replace(texts, rows=rows)


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of the packages that made a folder."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
