"""Verify an exported folder on this machine: compare its files' hashes, and each graph's outputs with the reference's.

It needs no PyTorch: the outputs of transformers are in `reference_outputs.npz`.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Variant
from dpr_export.models.artifact.reference_outputs import Example, read_reference_outputs, select_examples
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.runtime.checks.parity import ParityError, check_parity, measure_relative_error
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import SESSION_CLASSES, Session, open_session
from dpr_export.runtime.inference.selection import is_installed

# A lossy variant's error may be 1.5 times what it was at export, and a little more, but never that of a graph that
# returns zeros, which is 1.
_FACTOR, _MARGIN, _LARGEST = 1.5, 1e-3, 0.95


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and its result in words; `passed` is None if it cannot run here."""

    what: str
    passed: bool | None
    found: str


def verify(path: str | Path, device: str = "cpu") -> Iterator[Check]:
    """Check an exported folder, and yield the result for each file and then for each variant.

    Args:
        path: the exported folder.
        device: the device to run its variants on: "cpu", "cuda", "cuda:1".

    Raises:
        OSError: there is no exported folder.
        ValueError: its manifest cannot be read, or the device is unknown.
        RuntimeError: the GPU cannot be used; the message says what is missing.
    """
    kind, index = parse_device(device)
    if kind == "cuda" and (problem := gpu_problem(index)):
        raise RuntimeError(f"device {device!r} cannot be used: {problem}")
    folder = ExportedFolder.read(path)
    for name in folder.manifest.files:
        problem = folder.find_problem(name)
        yield Check(name, problem is None, problem or "SHA-256 as exported")
    for variant in folder.manifest.variants:
        yield _check_variant(folder, variant, device, kind)


def _check_variant(folder: ExportedFolder, variant: Variant, device: str, kind: str) -> Check:
    """Run one variant on the inputs of the reference outputs, and compare its outputs with those."""
    what = f"{variant.file} on {variant.backend}"
    if not is_installed(variant.backend):
        return Check(what, None, f"{variant.backend} is not installed here")
    if not _can_run_on(variant, kind):
        other = "cuda" if kind == "cpu" else "cpu"
        return Check(what, None, f"made for {other}: verify it there (--device {other})")
    try:
        calls = read_reference_outputs(folder.path / REFERENCE_OUTPUTS_FILE)
        session = open_session(
            variant.backend,
            folder.path / variant.file,
            device=device,
            threads=usable_processors(),
            precision=variant.precision,
            longest=DPRConfig.read(folder.path).max_position_embeddings,
        )
        with closing(session):
            calls = select_examples(calls, EMBEDS if EMBEDS in session.input_names else IDS)
            found = compare_outputs(session, calls, variant)
    except Exception as error:  # any failure fails this check, and the others go on
        return Check(what, False, " ".join(str(error).split()))
    return Check(what, bool(calls), f"{found}; {session.engine}")


def _can_run_on(variant: Variant, kind: str) -> bool:
    """Whether a kind of device runs a variant: as the table says, and the CPU also what its engine supports there."""
    if kind == "cpu":
        return (variant.backend, kind) in SESSION_CLASSES
    return any(
        kind in spec.devices for spec in VARIANTS if (spec.backend, spec.file) == (variant.backend, variant.file)
    )


def compare_outputs(session: Session, calls: list[Example], variant: Variant) -> str:
    """Compare outputs with the reference outputs, and return the result in words.

    Raises:
        ParityError: the outputs of an exact variant are outside the tolerance, or the relative error of a lossy one is
            much larger than at export.
    """
    if variant.parity is not None:
        result = check_parity(session, calls, variant.parity.atol)
        return f"largest difference {result.largest_error:.1e}, {result.share_of_tolerance:.1%} of the tolerance"
    assert variant.accuracy_drop is not None  # a manifest with neither is refused
    error, at_export = measure_relative_error(session, calls), variant.accuracy_drop.reference_output_error
    bound = min(_FACTOR * at_export + _MARGIN, _LARGEST)
    found = f"relative error on random tokens {error:.2%}, at export {at_export:.2%}"
    if not error <= bound:
        raise ParityError(f"{found}; at most {bound:.2%} is allowed")
    return found
