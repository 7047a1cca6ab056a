"""Verify an exported folder on this machine: compare its files' hashes, and each graph's outputs with the reference's.

It needs no PyTorch: the outputs of transformers are in `reference_outputs.npz`.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Variant
from dpr_export.models.artifact.reference_outputs import read_reference_outputs, select_examples
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.runtime.checks.parity import ParityError, check_finite, check_parity
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import SESSION_CLASSES, Session, open_session
from dpr_export.runtime.inference.selection import is_installed
from dpr_export.runtime.inference.verdicts import Verdict, judge, remember


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
        session = open_session(
            variant.backend,
            folder.path / variant.file,
            device=device,
            threads=usable_processors(),
            precision=variant.precision,
            longest=DPRConfig.read(folder.path).max_position_embeddings,
        )
        with closing(session):
            verdict = judge(session, folder, variant, variant.precision) if IDS in session.input_names else None
            found = compare_outputs(session, folder, variant, verdict)
            if verdict and variant.backend != "tensorrt":
                remember(verdict, folder, variant, variant.precision, device)  # the next load need not check again
    except Exception as error:  # any failure fails this check, and the others go on
        return Check(what, False, " ".join(str(error).split()))
    return Check(what, True, f"{found}; {session.engine}")


def _can_run_on(variant: Variant, kind: str) -> bool:
    """Whether a kind of device runs a variant: as the table says, and the CPU also what its engine supports there."""
    if kind == "cpu":
        return (variant.backend, kind) in SESSION_CLASSES
    return any(
        kind in spec.devices for spec in VARIANTS if (spec.backend, spec.file) == (variant.backend, variant.file)
    )


def compare_outputs(session: Session, folder: ExportedFolder, variant: Variant, verdict: Verdict | None) -> str:
    """Compare outputs with the folder's reference outputs, and return the result in words.

    Args:
        session: runs the variant.
        folder: the exported folder.
        variant: the variant.
        verdict: what `judge` says of it; None for a graph that takes embeddings.

    Raises:
        ParityError: the outputs of an exact variant are outside the tolerance; or those of a lossy one are not finite,
            or the verdict is that it fails.
        ValueError: the reference outputs are damaged, or there are none.
    """
    tokens = IDS if IDS in session.input_names else EMBEDS
    calls = select_examples(read_reference_outputs(folder.path / REFERENCE_OUTPUTS_FILE), tokens)
    if not calls:
        raise ValueError(f"{REFERENCE_OUTPUTS_FILE} has none for {tokens}")
    if variant.parity is not None:
        result = check_parity(session, calls, variant.parity.atol)
        return f"largest difference {result.largest_error:.1e}, {result.share_of_tolerance:.1%} of the tolerance"
    assert variant.accuracy_drop is not None  # a manifest with neither is refused
    assert verdict is not None  # lossy graphs take ids
    check_finite(session, calls)
    at_export = variant.accuracy_drop.sample_cosine
    found = f"least cosine with the PyTorch model {verdict.cosine:.4f}, at export {at_export:.4f}"
    if not verdict.passed:
        raise ParityError(f"{found}; it must be at least {verdict.bound:.4f}")
    return found
