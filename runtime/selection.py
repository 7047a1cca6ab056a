"""Choose the variant to run: what the folder holds, what is installed, what was asked for.

Nothing is built or downloaded here, and only proved variants are in a manifest. The order of preference is that of the
table in `models/variants.py`.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from dpr_export.models.folder import ExportedFolder
from dpr_export.models.manifest import Variant
from dpr_export.models.variants import BACKENDS, PRECISIONS, VARIANTS


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that was chosen, and why, in words."""

    variant: Variant
    reason: str


def choose(folder: ExportedFolder, *, backend: str = "auto", precision: str = "auto") -> Choice:
    """The first variant in the table's order that the folder holds and that was asked for.

    Raises:
        ValueError: an unknown backend or precision, or a variant that the folder does not hold.
        ImportError: no engine that could run one of the folder's variants is installed.
    """
    for name, value, known in (("backend", backend, BACKENDS), ("precision", precision, PRECISIONS)):
        if value not in ("auto", *known):
            raise ValueError(f"{name} is {value!r}, and must be one of: auto, {', '.join(known)}")
    held = {(variant.backend, variant.precision): variant for variant in folder.manifest.variants}
    asked = [
        held[spec.backend, spec.precision]
        for spec in VARIANTS
        if backend in ("auto", spec.backend)
        and precision in ("auto", spec.precision)
        and (spec.backend, spec.precision) in held
    ]
    if not asked:
        there = ", ".join(f"{b} {p}" for b, p in held)
        raise ValueError(
            f"{folder.path} holds no variant with backend={backend}, precision={precision}; it holds {there}"
        )
    installed = [variant for variant in asked if find_spec(variant.backend)]
    if not installed:
        raise ImportError(f'{asked[0].backend} is not installed: pip install "dpr-export[cpu]"')
    chosen = installed[0]
    reason = (
        f"{chosen.file} ({chosen.backend}, {chosen.precision}): the first of "
        f"{len(installed)} that this folder holds and this machine can run; "
        f"asked for: backend={backend}, precision={precision}"
    )
    return Choice(chosen, reason)
