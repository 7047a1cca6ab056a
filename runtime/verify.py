"""Check an exported folder on this machine: are its files those that were exported, and does each graph still answer
what the original answered? It needs no PyTorch: the original's answers are in `golden.npz`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpr_export.models.folder import ExportedFolder
from dpr_export.models.golden import allowed_error, largest_error, read_golden
from dpr_export.models.manifest import GOLDEN_FILE, Variant
from dpr_export.runtime.processors import usable_processors
from dpr_export.runtime.session import open_session


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, whether it was right, and what was found."""

    what: str
    passed: bool
    found: str


def verify(path: str | Path) -> Iterator[Check]:
    """Yield the checks of an exported folder, one a file and one a variant, as they are done.

    Raises:
        OSError: there is no exported folder.
        ValueError: its manifest cannot be read, or a file's size is wrong.
    """
    folder = ExportedFolder.open(path)
    for name in folder.manifest.files:
        problem = folder.hash_problem(name)
        yield Check(name, problem is None, problem or "SHA-256 as exported")
    for variant in folder.manifest.variants:
        yield _golden(folder, variant)


def _golden(folder: ExportedFolder, variant: Variant) -> Check:
    """Run one variant on the golden inputs, and compare with the original's outputs."""
    what = f"{variant.file} on {variant.backend}"
    worst, allowed = 0.0, 0.0
    try:
        calls = read_golden(folder.path / GOLDEN_FILE)
        session = open_session(variant.backend, folder.path / variant.file, device="cpu", threads=usable_processors())
        try:
            for call in calls:
                outputs = session.run(call.feeds)
                for name, reference in call.reference.items():
                    difference = largest_error(outputs[name], reference)
                    bound = allowed_error(reference, variant.proof.atol)
                    if not difference <= bound:
                        return Check(what, False, f"{name} differs by {difference:.1e}, and {bound:.1e} is allowed")
                    worst, allowed = max(worst, difference), max(allowed, bound)
        finally:
            session.close()
    except Exception as error:  # whatever fails here fails the check, and the others go on
        return Check(what, False, " ".join(str(error).split()))
    return Check(what, bool(calls), f"largest difference {worst:.1e}, and {allowed:.1e} is allowed; {session.engine}")
