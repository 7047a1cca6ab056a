"""Open the variant that suits a request, and check it on this machine at its first load."""

import warnings
from collections.abc import Callable

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import SAMPLE_FILE
from dpr_export.models.artifact.variants import AccuracyWarning
from dpr_export.runtime.engines.session import LONGEST, Session, open_session
from dpr_export.runtime.inference.selection import Choice
from dpr_export.runtime.inference.verdicts import Verdict, find_verdict, judge, remember


def open_checked(
    folder: ExportedFolder, choice: Choice, select: Callable[[], Choice], *, threads: int, longest: int = LONGEST
) -> tuple[Session, Choice]:
    """Open a chosen variant; if it fails its check on this machine, open what `select` chooses then.

    A variant that fails, and that is chosen all the same because its precision is named, is opened with a warning.

    Returns:
        The session, and the choice that it runs.

    Raises:
        OSError, ImportError, RuntimeError, ValueError: as `DPRModel.from_pretrained`.
    """
    while True:
        session = _open(folder, choice, threads, longest)
        try:
            verdict = _check(session, folder, choice)
            other = choice if verdict is None or verdict.passed else select()
            if is_same := (other.variant, other.device) == (choice.variant, choice.device):
                _warn(session, choice, verdict)
        except BaseException:
            session.close()
            raise
        if is_same:
            return session, choice
        session.close()
        choice = other


def _open(folder: ExportedFolder, choice: Choice, threads: int, longest: int) -> Session:
    file = choice.variant.file
    folder.ensure_files(*folder.manifest.files_of(file), SAMPLE_FILE)
    return open_session(
        choice.variant.backend,
        folder.path / file,
        device=choice.device,
        threads=threads,
        precision=choice.precision,
        cache=folder.manifest.graph_sha256(file),
        longest=longest,
    )


def _warn(session: Session, choice: Choice, verdict: Verdict | None) -> None:
    if verdict is not None and not verdict.passed:
        warnings.warn(f"{choice.variant.file} on {session.engine}: {verdict}", AccuracyWarning, stacklevel=4)


def _check(session: Session, folder: ExportedFolder, choice: Choice) -> Verdict | None:
    """Return the verdict on what was opened; None for TensorRT, whose engine files are checked when they are built."""
    if choice.variant.backend == "tensorrt":
        return None
    found = find_verdict(folder, choice.variant, choice.precision, choice.device)
    if found is None:
        found = judge(session, folder, choice.variant, choice.precision)
        remember(found, folder, choice.variant, choice.precision, choice.device)
    return found
