"""Choose the variant to run: what the folder holds, what is installed, what was asked for.

Nothing is built or downloaded here. The order of preference is that of the table in `models/variants.py`. A variant
that was not shown on its engine, or that missed a bound, is run only where its precision is named.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from dpr_export.models.folder import ExportedFolder
from dpr_export.models.manifest import Variant
from dpr_export.models.variants import PRECISIONS, RUNTIME_PRECISIONS, VARIANTS, VariantSpec
from dpr_export.runtime.processors import int8_products
from dpr_export.runtime.session import SESSION_CLASSES

DEVICES = ("cpu",)
EXTRAS = {"onnxruntime": "cpu", "openvino": "openvino"}
_FIRST = "the first in order of preference that this folder holds and this machine can run"
SLOW_INT8 = (
    "this processor has no instructions for INT8 products (VNNI, or ARM's dot product): INT8 may be slower than fp32"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that was chosen, the precision to run it at, and why, in words."""

    variant: Variant
    precision: str
    reason: str


def choose(folder: ExportedFolder, *, backend: str = "auto", precision: str = "auto", device: str = "cpu") -> Choice:
    """The first variant in the table's order that the folder holds and that was asked for.

    Raises:
        ValueError: an unknown backend or precision, or a variant that the folder does not hold.
        ImportError: no engine that could run one of the folder's variants is installed.
    """
    _check("backend", backend, ("auto", *SESSION_CLASSES))
    _check("precision", precision, ("auto", *PRECISIONS, *RUNTIME_PRECISIONS))
    _check("device", device, DEVICES)
    engine, stored = RUNTIME_PRECISIONS.get(precision, (backend, precision))
    if backend not in ("auto", engine):
        raise ValueError(f"precision is {precision!r}, which the {engine} backend has, and {backend} has not")
    held = {(variant.backend, variant.precision, variant.file): variant for variant in folder.manifest.variants}
    asked = [
        (spec, held[spec.backend, spec.precision, spec.file])
        for spec in VARIANTS
        if engine in ("auto", spec.backend)
        and stored in ("auto", spec.precision)
        and (spec.backend, spec.precision, spec.file) in held
    ]
    passed_over: list[str] = []
    for spec, variant in asked:
        problem = _problem(spec, variant, device, named=stored != "auto")
        if problem is None:
            return Choice(
                variant,
                variant.precision if precision == "auto" else precision,
                _reason(variant, backend, precision, passed_over),
            )
        passed_over.append(f"{variant.backend} {variant.precision}: {problem}")
    if not asked:
        there = ", ".join(dict.fromkeys(f"{b} {p}" for b, p, _ in held))
        raise ValueError(
            f"{folder.path} holds no variant with backend={backend}, precision={precision}; it holds {there}"
        )
    missing = [spec.backend for spec, _ in asked if spec.backend in EXTRAS and not find_spec(spec.backend)]
    if missing:
        raise ImportError(f'{missing[-1]} is not installed: pip install "dpr-export[{EXTRAS[missing[-1]]}]"')
    raise ValueError(f"{folder.path} holds no variant that can be run by itself: {'; '.join(passed_over)}")


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(known)}")


def _problem(spec: VariantSpec, variant: Variant, device: str, named: bool) -> str | None:
    """Why a variant cannot be run here, or not by itself; None where it can."""
    if spec.backend not in SESSION_CLASSES:
        return "this version has no session for it"
    if not find_spec(spec.backend):
        return f"{spec.backend} is not installed"
    if named:
        return None
    if spec.device != device:
        return f"made for {spec.device}"
    if variant.loss and variant.loss.missed:
        return f"loses too much ({', '.join(variant.loss.missed)}): only run where its precision is named"
    return None if variant.proved else "not proved on its engine: only run where its precision is named"


def _reason(variant: Variant, backend: str, precision: str, passed_over: list[str]) -> str:
    why = "" if "auto" not in (backend, precision) else f": {_FIRST}"
    lines = [
        f"{variant.file} ({variant.backend} {variant.precision}), asked for as backend={backend}, "
        f"precision={precision}{why}"
    ]
    lines += [f"passed over: {each}" for each in passed_over]
    if variant.precision == "int8" and int8_products() is False:
        lines.append(SLOW_INT8)
    return "\n".join(lines)
