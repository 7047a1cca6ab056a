"""Add variants to an exported folder, without its checkpoint.

The new graphs are compared with `model.onnx`, and its recorded error is added to each error. Graphs are made in a
temporary folder, then renamed into place, and the manifest last: readers see the old state or the new one.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.models.artifact.atomic_writing import lock_folder
from dpr_export.models.artifact.folder import ExportedFolder, add_files
from dpr_export.models.artifact.manifest import SAMPLE_FILE, Manifest
from dpr_export.models.artifact.reference_outputs import Example, read_reference_outputs
from dpr_export.models.artifact.variant_options import VariantOptions
from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS, Kind
from dpr_export.models.progress import Step, silent
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.texts import CALIBRATION_SET_FILE, Texts, read_texts
from dpr_export.quantization.variants import VariantMaker
from dpr_export.runtime.checks.parity import make_grid
from dpr_export.runtime.checks.variant_parity import REFERENCE, open_graph

MAKERS = ("dpr-export", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


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
    texts = select_readable(read_calibration_set(options.calibration), kind)
    with lock_folder(found.path):
        start = ExportedFolder.read(folder)
        found = _without_damaged(start, {spec.file for spec in specs if spec.recipe})
        held = {(variant.backend, variant.file) for variant in found.manifest.variants}
        missing = [spec for spec in specs if (spec.backend, spec.file) not in held or (options.force and spec.recipe)]
        if not missing:
            can_force = any(spec.recipe for spec in specs) and not options.force
            again = ": make it again with force (--force)" if can_force else ""
            raise ValueError(f"{folder} holds all of this already{again}")
        calls, error = _compute_reference(found, kind)
        sample = read_reference_outputs(found.path / SAMPLE_FILE)
        maker = VariantMaker(kind, found.path, calls, sample, texts, options.atol, options.allow_loss, step, error)
        with TemporaryDirectory(prefix=".making.", dir=found.path) as making:
            made = maker.make_all(missing, Path(making))
            if ExportedFolder.read(folder).manifest != start.manifest:
                raise QuantizationError(f"{folder} was replaced meanwhile: nothing is added to it")
            versions = found.manifest.versions | installed_versions(MAKERS)
            return add_files(replace(found, manifest=replace(found.manifest, versions=versions)), made, Path(making))


def _without_damaged(folder: ExportedFolder, files: Collection[str]) -> ExportedFolder:
    """Leave out of the folder the lost and damaged ones of `files`, which can be made again; check the rest."""
    held = {file: folder.manifest.files_of(file) for file in files if file in folder.manifest.files}
    damaged = {file: names for file, names in held.items() if any(map(folder.find_problem, names))}
    left_out = {name for names in damaged.values() for name in names}
    variants = tuple(variant for variant in folder.manifest.variants if variant.file not in damaged)
    records = {name: record for name, record in folder.manifest.files.items() if name not in left_out}
    rest = replace(folder, manifest=replace(folder.manifest, variants=variants, files=records))
    rest.check(verify=True)
    return rest


def _compute_reference(folder: ExportedFolder, kind: Kind) -> tuple[list[Example], float]:
    """Compute the outputs of `model.onnx` over the grid, and read its largest error from the manifest.

    Raises:
        ValueError: the graph did not pass the parity check, or has optional outputs.
    """
    reference = (MODEL_FILE, REFERENCE)
    found = [v for v in folder.manifest.variants if (v.file, v.backend) == reference and v.parity]
    if not found or found[0].parity is None:
        raise ValueError(
            f"{folder.path} has no {MODEL_FILE} that passed the parity check, and variants are made from it: "
            "export the checkpoint again"
        )
    if names := found[0].optional_outputs:
        raise ValueError(
            f"{folder.path} was exported with {' and '.join(names)}: variants cannot be made from such a graph; export "
            "the checkpoint again without them"
        )
    with open_graph(REFERENCE, folder.path / MODEL_FILE) as session:
        grid = make_grid(kind, DPRConfig.read(folder.path))
        return [Example(feeds, session.run(feeds)) for feeds in grid], found[0].parity.largest_error


def read_calibration_set(file: str | Path | None) -> Texts:
    """Read the calibration set from a file, or the project's own.

    Raises:
        OSError, ValueError: as `read_texts`; the message names the argument.
    """
    try:
        return read_texts(CALIBRATION_SET_FILE if file is None else Path(file))
    except OSError as error:
        raise OSError(f"calibration {file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"calibration {error}") from None


def select_readable(texts: Texts, kind: Kind) -> Texts:
    """Keep the rows that have every text that a kind of model reads; a title may be missing.

    Raises:
        ValueError: no row has.
    """
    needed = [name for name in kind.columns if name != "title"]
    rows = tuple(row for row in texts.rows if all(getattr(row, name).strip() for name in needed))
    if not rows:
        raise ValueError(f"calibration: no row has {' and '.join(needed)}, which a {kind.name} model reads")
    return replace(texts, rows=rows)


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
