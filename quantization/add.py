"""Make the variants of a folder, and add some to one that was exported earlier, without its checkpoint.

There the right outputs are those of `model.onnx`, which was proved when the folder was made. Everything is made beside
the folder's own files first; then the new graphs are renamed into place, and the manifest last: whoever reads the
folder meanwhile sees it as it was, or with the new variants.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.models.config import DPRConfig
from dpr_export.models.folder import ExportedFolder, add_files
from dpr_export.models.golden import ATOL, Example, read_golden
from dpr_export.models.kinds import KINDS
from dpr_export.models.manifest import GOLDEN_FILE, Manifest, Variant
from dpr_export.models.variants import DEFAULT_BACKENDS, MODEL_FILE, VariantSpec, wanted
from dpr_export.quantization.texts import CALIBRATION_FILE, Texts, read_texts
from dpr_export.quantization.variants import Maker, opened
from dpr_export.runtime.progress import Step, silent
from dpr_export.runtime.proof import grid

MAKERS = ("dpr-export", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def make_variants(maker: Maker, specs: Iterable[VariantSpec], output: Path, step: Step) -> tuple[Variant, ...]:
    """Make variants, their graphs below `output`, and tell of each.

    Raises:
        ProofError, QuantizationError: as `Maker.make`.
    """
    made = []
    for spec in specs:
        if spec.recipe is None:
            with step(f"prove {spec.file} on {spec.backend}"):
                made.append(maker.make(spec, maker.folder / spec.file))
        else:
            with step(f"make {spec.file}" + ("" if spec.lossy else ", and keep it if it is faster")):
                (output / spec.file).parent.mkdir(exist_ok=True)
                made.append(maker.make(spec, output / spec.file))
    return tuple(variant for variant in made if variant is not None)


def add_variants(
    folder: str | Path,
    *,
    precisions: Sequence[str],
    backends: Sequence[str] = DEFAULT_BACKENDS,
    calibration: str | Path | None = None,
    atol: float = ATOL,
    allow_loss: bool = False,
    force: bool = False,
    step: Step = silent,
) -> Manifest:
    """Make more variants of an exported folder, from its `model.onnx`.

    Args:
        folder: the exported folder.
        precisions: "fp32", "fp16", "int8".
        backends: "onnxruntime", "openvino", "tensorrt".
        calibration: texts to calibrate with, see `read_texts`; None: the project's own.
        atol: the absolute part of the error allowed to what is not lossy.
        allow_loss: write a variant that misses a bound too, and say so in the manifest.
        force: make again what is there already.
        step: told of each step.

    Returns:
        The folder's new manifest.

    Raises:
        OSError: there is no exported folder, or it cannot be written.
        ValueError: the folder is damaged; an unknown precision or backend; or all of it is there already.
        ProofError, QuantizationError: a variant is wrong, or loses too much; then nothing is changed.
    """
    specs = wanted(precisions, backends)
    texts = calibration_texts(calibration)
    found = ExportedFolder.open(folder, verify=True)
    held = {(variant.backend, variant.file) for variant in found.manifest.variants}
    missing = [spec for spec in specs if (spec.backend, spec.file) not in held or (force and spec.recipe)]
    if not missing:
        raise ValueError(f"{folder} holds all of this already: make it again with force (--force)")
    kind, config = KINDS[found.manifest.kind], DPRConfig.from_pretrained(found.path)
    with opened("onnxruntime", found.path / MODEL_FILE) as session:
        calls = [Example(feeds, session.run(feeds)) for feeds in grid(kind, config)]
    golden = read_golden(found.path / GOLDEN_FILE)
    maker = Maker(kind, found.path, calls, golden, texts, atol, allow_loss)
    with TemporaryDirectory(prefix=".making.", dir=found.path) as making:
        made = make_variants(maker, missing, Path(making), step)
        versions = found.manifest.versions | installed_versions(MAKERS)
        return add_files(replace(found, manifest=replace(found.manifest, versions=versions)), made, Path(making))


def calibration_texts(file: str | Path | None) -> Texts:
    """The texts of a file, or the project's own.

    Raises:
        OSError, ValueError: as `read_texts`.
    """
    return read_texts(CALIBRATION_FILE if file is None else Path(file))


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of the packages that made a folder."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
