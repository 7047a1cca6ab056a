"""Choose the variant to run, its precision and its device.

Nothing is built or downloaded here. The folder's variants are tried in the order that `models/artifact/variants.py` has
for this processor, on a GPU first and then on the CPU, and the first without a problem is chosen. A variant that failed
a bound, that was not verified on its own engine, or that failed its check on this machine, is chosen only where its
precision is named. A variant for GPUs that was verified on a CPU is also chosen where the GPU is named.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.variants import PRECISIONS, RUNTIME_PRECISIONS, VARIANTS, VariantSpec, order_for
from dpr_export.runtime.engines.devices import KINDS, parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import SLOW_INT8, int8_products, processor_kind
from dpr_export.runtime.engines.session import ENGINES, SESSION_CLASSES
from dpr_export.runtime.inference.verdicts import find_verdict

PIP_EXTRAS = {"onnxruntime": "cpu", "openvino": "openvino", "tensorrt": "tensorrt"}
_MODULES = {"tensorrt": ("tensorrt", "tensorrt_rtx")}
_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant, the precision to run it at, the device, and the reason in one or more lines."""

    variant: Variant
    precision: str
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Request:
    """The options of `choose` as given, and what they mean."""

    backend: str
    precision: str
    device: str
    engine: str  # the backend and the precision of the variants to look for, or "auto"; bf16 runs OpenVINO's fp32
    stored: str
    kinds: tuple[str, ...]  # the kinds of device to try, in order
    gpu: int


def choose(folder: ExportedFolder, *, backend: str = "auto", precision: str = "auto", device: str = "auto") -> Choice:
    """Choose the first variant, in the table's order, that matches the request and can be run.

    Raises:
        ValueError: an unknown backend, precision or device, or a variant that the folder does not hold.
        ImportError: no engine that could run one of the folder's variants is installed.
        RuntimeError: the GPU that is named cannot be used; the message says what is missing.
    """
    request = _parse_request(backend, precision, device)
    candidates = _list_candidates(folder, request)
    if not candidates:
        raise ValueError(_describe_missing(folder, request))
    passed_over: list[str] = []
    failed: list[Choice] = []
    no_gpu = gpu_problem(request.gpu) if any(kind == "cuda" for *_, kind in candidates) else None
    if no_gpu:
        if device != "auto":
            raise RuntimeError(f"device {device!r} cannot be used: {no_gpu}")
        if any(spec.devices[0] == "cuda" for spec, *_ in candidates):
            passed_over.append(f"cuda: {no_gpu}")
        candidates = [candidate for candidate in candidates if candidate[2] != "cuda"]
    for spec, variant, kind in candidates:
        problem = _find_problem(folder, request, spec, variant, kind)
        place = f"cuda:{request.gpu}" if kind == "cuda" else kind
        at = variant.precision if precision == "auto" else precision
        if problem is None:
            choice = Choice(variant, at, place, _explain(request, variant, place, passed_over))
            verdict = find_verdict(folder, variant, at, place)
            if verdict is None or verdict.passed:
                return choice
            failed.append(choice)
            problem = str(verdict)
        passed_over.append(f"{variant.backend} {variant.precision} on {kind}: {problem}")
    if failed and precision != "auto":
        return failed[0]
    for spec, *_ in reversed(candidates):
        if not is_installed(spec.backend):
            raise ImportError(f'{spec.backend} is not installed: pip install "dpr-export[{PIP_EXTRAS[spec.backend]}]"')
    raise ValueError(f"{folder.name} holds no variant that can run as requested: {'; '.join(passed_over)}")


def precision_for(dtype: Any, precision: str = "auto") -> str:
    """Translate transformers' `dtype` into a precision.

    Args:
        dtype: None or "auto"; or float32, float16 or bfloat16, as a name or as torch's or NumPy's own.
        precision: the precision that was given besides, which must not be another one.

    Raises:
        ValueError: another type, or `precision` differs.

    >>> precision_for("float16"), precision_for(None, "int8")
    ('fp16', 'int8')
    """
    if dtype is None or dtype == "auto":
        return precision
    name = getattr(dtype, "__name__", str(dtype)).removeprefix("torch.")
    if name not in _DTYPES:
        raise ValueError(f"dtype is {name!r}, and must be one of: auto, {', '.join(_DTYPES)}")
    if precision not in ("auto", _DTYPES[name]):
        raise ValueError(f"dtype is {name!r}, and precision is {precision!r}: give one of them")
    return _DTYPES[name]


def is_installed(backend: str) -> bool:
    """Whether a backend is known to this version, and its engine is installed."""
    return backend in ENGINES and any(find_spec(module) for module in _MODULES.get(backend, (backend,)))


def _parse_request(backend: str, precision: str, device: str) -> _Request:
    for name, value, known in (
        ("backend", backend, ("auto", *ENGINES)),
        ("precision", precision, ("auto", *PRECISIONS, *RUNTIME_PRECISIONS)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(known)}")
    kind, gpu = parse_device("cuda" if device == "auto" else device)
    engine, stored = RUNTIME_PRECISIONS.get(precision, (backend, precision))
    if backend not in ("auto", engine):
        raise ValueError(f"precision {precision!r} requires backend {engine!r}")
    if "auto" not in (device, backend) and (backend, kind) not in SESSION_CLASSES:
        devices = ", ".join(device for name, device in SESSION_CLASSES if name == backend)
        raise ValueError(f"device is {device!r}, and the {backend} backend runs on {devices} only")
    return _Request(backend, precision, device, engine, stored, KINDS[::-1] if device == "auto" else (kind,), gpu)


def _list_candidates(folder: ExportedFolder, request: _Request) -> list[tuple[VariantSpec, Variant, str]]:
    """List the folder's variants that match the request, with each kind of device that may run them, in order.

    The CPU also runs variants for GPUs if their precision is named and the backend has a session for the CPU.
    """
    held = {(variant.backend, variant.precision, variant.file): variant for variant in folder.manifest.variants}
    return [
        (spec, held[spec.backend, spec.precision, spec.file], kind)
        for kind in request.kinds
        for spec in order_for(processor_kind())
        if (spec.backend, spec.precision, spec.file) in held
        and request.engine in ("auto", spec.backend)
        and request.stored in ("auto", spec.precision)
        and (
            kind in spec.devices
            or (kind == "cpu" and request.stored != "auto" and (spec.backend, kind) in SESSION_CLASSES)
        )
    ]


def _describe_missing(folder: ExportedFolder, request: _Request) -> str:
    """The error for a folder without a matching variant, with the command that makes one if there is such a command."""
    held = ", ".join(dict.fromkeys(f"{variant.backend} {variant.precision}" for variant in folder.manifest.variants))
    where = "" if request.device == "auto" else f", device={request.device}"
    message = (
        f"{folder.name} holds no variant with backend={request.backend}, precision={request.precision}{where}; "
        f"it holds {held}"
    )
    specs = [spec for spec in VARIANTS if spec.precision == request.stored]
    if folder.repository or not any(request.engine in ("auto", spec.backend) for spec in specs):
        return message
    option = "" if request.engine == "auto" else f" --backend {request.engine}"
    return f"{message}: dpr-export {folder.path} --precision {request.stored}{option} makes it"


def _find_problem(
    folder: ExportedFolder, request: _Request, spec: VariantSpec, variant: Variant, kind: str
) -> str | None:
    """Return why a candidate is passed over; None if it is not.

    If backend and precision are named, the GPU is not probed: opening the session then tells what is missing.
    """
    if not is_installed(spec.backend):
        return f"{spec.backend} is not installed"
    if request.stored == "auto":
        if variant.accuracy_drop and variant.accuracy_drop.below_bound:
            below = ", ".join(variant.accuracy_drop.below_bound)
            return f"its metrics are below their bounds ({below}): name its precision to run it"
        if not variant.verified and not (kind == "cuda" and (request.device != "auto" or "cpu" in spec.devices)):
            return "not verified on its engine: name its precision to run it"
    if kind == "cuda" and "auto" in (request.engine, request.stored):
        return _find_gpu_problem(spec.backend, folder.manifest.graph_sha256(variant.file), request)
    return None


def _find_gpu_problem(backend: str, graph: str, request: _Request) -> str | None:
    """Return why a backend cannot run a graph, given by its SHA-256, on the GPU; None if it can."""
    if backend == "onnxruntime":
        from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import cuda_problem

        return cuda_problem(request.gpu)
    try:
        from dpr_export.runtime.engines.nvidia.engine_lookup import engine_for

        _, _, _, record = engine_for(graph, request.gpu)
    except (ImportError, LookupError, RuntimeError) as error:
        return str(error)
    if record.verified is None and request.device == "auto":
        return "its engine file was not verified on this GPU: name the device to run it"
    return None


def _explain(request: _Request, variant: Variant, place: str, passed_over: list[str]) -> str:
    """Explain a choice: the variant and the request, then one line for each candidate that was passed over."""
    lines = [
        f"{variant.file} ({variant.backend} {variant.precision}) on {place}, requested as backend={request.backend}, "
        f"precision={request.precision}, device={request.device}"
    ]
    if "auto" in (request.engine, request.stored):
        lines[0] += ": the first in order of preference that this folder holds and this machine can run"
    lines += [f"passed over: {each}" for each in passed_over]
    if place == "cpu" and variant.precision == "int8" and int8_products() is False:
        lines.append(SLOW_INT8)
    return "\n".join(lines)
