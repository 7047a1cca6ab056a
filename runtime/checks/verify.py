"""Check an exported folder on this machine: are its files those that were exported, and does each graph still answer
what the original answered? It needs no PyTorch: the original's answers are in `reference_outputs.npz`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import REFERENCE_OUTPUTS_FILE, Variant
from dpr_export.models.artifact.reference_outputs import Example, read_reference_outputs, select_examples
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import EMBEDS, IDS
from dpr_export.runtime.checks.parity import ParityError, check_parity, relative_error
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import usable_processors
from dpr_export.runtime.engines.session import SESSION_CLASSES, Session, open_session
from dpr_export.runtime.inference.selection import is_installed

SPREAD = 1.5
ROUNDING = 1e-3
LEAST_WRONG = 0.95  # a graph that gives zeros differs by all of the outputs' size


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, whether it was right, and what was found; None: it could not be looked at here."""

    what: str
    passed: bool | None
    found: str


def verify(path: str | Path, device: str = "cpu") -> Iterator[Check]:
    """Yield the checks of an exported folder, one a file and one a variant, as they are done.

    Args:
        path: the exported folder.
        device: where to run its variants: "cpu", "cuda", "cuda:1".

    Raises:
        OSError: there is no exported folder.
        ValueError: its manifest cannot be read; there is no such device.
        RuntimeError: the GPU cannot be used; the message says what is missing.
    """
    kind, index = parse_device(device)
    if kind == "cuda" and (problem := gpu_problem(index)):
        raise RuntimeError(f"device is {device!r}, and it cannot be used: {problem}")
    folder = ExportedFolder.read(path)
    for name in folder.manifest.files:
        problem = folder.find_problem(name)
        yield Check(name, problem is None, problem or "SHA-256 as exported")
    for variant in folder.manifest.variants:
        yield _golden(folder, variant, device, kind)


def _golden(folder: ExportedFolder, variant: Variant, device: str, kind: str) -> Check:
    """Run one variant on the golden inputs, and compare with the original's outputs."""
    what = f"{variant.file} on {variant.backend}"
    if not is_installed(variant.backend):
        return Check(what, None, f"{variant.backend} is not installed here")
    if not _runs_on(variant, kind):
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
            longest=DPRConfig.from_pretrained(folder.path).max_position_embeddings,
        )
        try:
            calls = select_examples(calls, EMBEDS if EMBEDS in session.input_names else IDS)
            found = compared(session, calls, variant)
        finally:
            session.close()
    except Exception as error:  # whatever fails here fails the check, and the others go on
        return Check(what, False, " ".join(str(error).split()))
    return Check(what, bool(calls), f"{found}; {session.engine}")


def _runs_on(variant: Variant, kind: str) -> bool:
    """Whether a kind of device runs a variant: those of the table, and the CPU whatever its engine takes there."""
    if kind == "cpu":
        return (variant.backend, kind) in SESSION_CLASSES
    return any(
        kind in spec.devices for spec in VARIANTS if (spec.backend, spec.file) == (variant.backend, variant.file)
    )


def compared(session: Session, calls: list[Example], variant: Variant) -> str:
    """How near the outputs are; a lossy variant's may be half as far again as they were where it was made.

    Raises:
        ParityError: they are too far.
    """
    if variant.parity is not None:
        proof = check_parity(session, calls, variant.parity.atol)
        return f"largest difference {proof.largest_error:.1e}, {proof.share_of_tolerance:.1%} of what is allowed"
    assert variant.accuracy_drop is not None  # a manifest with neither is refused
    found, seen = relative_error(session, calls), variant.accuracy_drop.reference_output_error
    bound = min(SPREAD * seen + ROUNDING, LEAST_WRONG)
    if not found <= bound:
        raise ParityError(
            f"differs by {found:.2%} of the outputs' size on random tokens, at export by {seen:.2%}; "
            f"{bound:.2%} is allowed"
        )
    return f"differs by {found:.2%} of the outputs' size on random tokens, at export by {seen:.2%}"
