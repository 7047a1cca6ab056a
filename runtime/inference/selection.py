"""Choose what to run, and where: what the folder holds, what is installed, what was asked for.

Nothing is built or downloaded here. The order of preference is that of the table in `models/artifact/variants.py`,
first for a GPU and then for the CPU. A variant that was not shown on its engine, or that is below a bound, is run only
where its precision is named; one for GPUs that was judged on a CPU also where the GPU is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import Variant
from dpr_export.models.artifact.variants import PRECISIONS, RUNTIME_PRECISIONS, VARIANTS, VariantSpec
from dpr_export.runtime.engines.devices import KINDS, parse_device
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.processors import SLOW_INT8, int8_products
from dpr_export.runtime.engines.session import ENGINES, SESSION_CLASSES

PIP_EXTRAS = {"onnxruntime": "cpu", "openvino": "openvino", "tensorrt": "tensorrt"}
_MODULES = {"tensorrt": ("tensorrt", "tensorrt_rtx")}
_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_FIRST = "the first in order of preference that this folder holds and this machine can run"


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that was chosen, the precision to run it at, the device, and why, in words."""

    variant: Variant
    precision: str
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for. `index` is a GPU's number; `engine` and `stored` are what the folder is searched for."""

    backend: str
    precision: str
    device: str
    index: int
    engine: str
    stored: str

    @property
    def device_named(self) -> bool:
        return self.device != "auto"

    @property
    def all_named(self) -> bool:
        return "auto" not in (self.engine, self.stored)


def choose(folder: ExportedFolder, *, backend: str = "auto", precision: str = "auto", device: str = "auto") -> Choice:
    """The first variant in the table's order that the folder holds and that was asked for.

    Raises:
        ValueError: an unknown backend, precision or device, or a variant that the folder does not hold.
        ImportError: no engine that could run one of the folder's variants is installed.
        RuntimeError: the GPU that is named cannot be used; the message says what is missing.
    """
    asked = _asked(backend, precision, device)
    held = {(variant.backend, variant.precision, variant.file): variant for variant in folder.manifest.variants}
    candidates = [
        (spec, held[spec.backend, spec.precision, spec.file], kind)
        for spec, kind in _rows(asked)
        if (spec.backend, spec.precision, spec.file) in held
    ]
    if not candidates:
        there = ", ".join(dict.fromkeys(f"{b} {p}" for b, p, _ in held))
        where = f", device={device}" if asked.device_named else ""
        raise ValueError(
            f"{folder.name} holds no variant with backend={backend}, precision={precision}{where}; it holds {there}"
            + _made_by(folder, asked)
        )
    passed_over: list[str] = []
    no_gpu = gpu_problem(asked.index) if any(kind == "cuda" for _, _, kind in candidates) else None
    if no_gpu and asked.device_named:
        raise RuntimeError(f"device is {device!r}, and it cannot be used: {no_gpu}")
    if no_gpu:
        if any(spec.devices[0] == "cuda" for spec, _, _ in candidates):
            passed_over.append(f"cuda: {no_gpu}")
        candidates = [candidate for candidate in candidates if candidate[2] != "cuda"]
    for spec, variant, kind in candidates:
        problem = _problem(folder, spec, variant, kind, asked)
        if problem is None:
            place = f"cuda:{asked.index}" if kind == "cuda" else kind
            chosen = variant.precision if precision == "auto" else precision
            return Choice(variant, chosen, place, _reason(variant, asked, place, passed_over))
        passed_over.append(f"{variant.backend} {variant.precision} on {kind}: {problem}")
    missing = [spec.backend for spec, _, _ in candidates if not is_installed(spec.backend)]
    if missing:
        raise ImportError(f'{missing[-1]} is not installed: pip install "dpr-export[{PIP_EXTRAS[missing[-1]]}]"')
    raise ValueError(f"{folder.name} holds no variant that can be run here as asked: {'; '.join(passed_over)}")


def _made_by(folder: ExportedFolder, asked: _Asked) -> str:
    """The command that makes what was asked for; nothing where none does."""
    backends = [
        spec.backend for spec in VARIANTS if spec.precision == asked.stored and asked.engine in ("auto", spec.backend)
    ]
    if folder.repository or not backends:
        return ""
    backend = asked.engine if asked.engine != "auto" else backends[-1] if asked.stored == "fp16" else ""
    option = f" --backend {backend}" if backend else ""
    return f": dpr-export {folder.path} --precision {asked.stored}{option} makes it"


def precision_for(dtype: Any, precision: str = "auto") -> str:
    """The precision that a type of numbers stands for, in programs that name it as the original does.

    Args:
        dtype: None or "auto"; or float32, float16 or bfloat16, as a name or as torch's or NumPy's own.
        precision: what was asked for besides, which must not be another.

    Raises:
        ValueError: another type, or both were given and differ.

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


def _asked(backend: str, precision: str, device: str) -> _Asked:
    _check("backend", backend, ("auto", *ENGINES))
    _check("precision", precision, ("auto", *PRECISIONS, *RUNTIME_PRECISIONS))
    kind, index = ("auto", 0) if device == "auto" else parse_device(device)
    engine, stored = RUNTIME_PRECISIONS.get(precision, (backend, precision))
    if backend not in ("auto", engine):
        raise ValueError(f"precision is {precision!r}, which the {engine} backend has, and {backend} has not")
    if kind != "auto" and backend != "auto" and (backend, kind) not in SESSION_CLASSES:
        devices = ", ".join(there for name, there in SESSION_CLASSES if name == backend)
        raise ValueError(f"device is {device!r}: the {backend} backend runs on {devices}")
    return _Asked(backend, precision, kind, index, engine, stored)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, and must be one of: {', '.join(known)}")


def _rows(asked: _Asked) -> Iterator[tuple[VariantSpec, str]]:
    """The rows of the table that were asked for, each with the kinds of device that may run it, GPUs first."""
    for kind in reversed(KINDS) if not asked.device_named else (asked.device,):
        for spec in VARIANTS:
            wanted = asked.engine in ("auto", spec.backend) and asked.stored in ("auto", spec.precision)
            on_request = kind == "cpu" and asked.stored != "auto" and (spec.backend, kind) in SESSION_CLASSES
            if wanted and (kind in spec.devices or on_request):
                yield spec, kind


def _problem(folder: ExportedFolder, spec: VariantSpec, variant: Variant, kind: str, asked: _Asked) -> str | None:
    """Why a variant cannot be run here, or not by itself; None where it can.

    Where all is named, it is left to the session to say what is missing.
    """
    if not is_installed(spec.backend):
        return f"{spec.backend} is not installed"
    if asked.stored == "auto":
        if variant.accuracy_drop and variant.accuracy_drop.below_bound:
            below = ", ".join(variant.accuracy_drop.below_bound)
            return f"loses too much ({below}): only run where its precision is named"
        if not variant.verified and not (kind == "cuda" and (asked.device_named or "cpu" in spec.devices)):
            return "not proved on its engine: only run where its precision is named"
    if kind == "cuda" and not asked.all_named:
        return _cuda_problem(spec.backend, asked.index, folder.manifest.files[variant.file].sha256, asked.device_named)
    return None


def _cuda_problem(backend: str, index: int, graph: str, device_named: bool) -> str | None:
    """Why an engine cannot run a graph on a GPU; None where it can."""
    if backend == "onnxruntime":
        from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import cuda_problem

        return cuda_problem(index)
    try:
        from dpr_export.runtime.engines.nvidia.engine_lookup import engine_for

        _, _, _, record = engine_for(graph, index)
    except (ImportError, LookupError, RuntimeError) as error:
        return str(error)
    if record.verified is None and not device_named:
        return "the engine was not compared with the original on this GPU: only run where the device is named"
    return None


def is_installed(backend: str) -> bool:
    """Whether an engine that this version knows is installed."""
    return backend in ENGINES and any(find_spec(module) for module in _MODULES.get(backend, (backend,)))


def _reason(variant: Variant, asked: _Asked, place: str, passed_over: list[str]) -> str:
    why = "" if asked.all_named else f": {_FIRST}"
    lines = [
        f"{variant.file} ({variant.backend} {variant.precision}) on {place}, asked for as backend={asked.backend}, "
        f"precision={asked.precision}, device={asked.device}{why}"
    ]
    lines += [f"passed over: {each}" for each in passed_over]
    if place == "cpu" and variant.precision == "int8" and int8_products() is False:
        lines.append(SLOW_INT8)
    return "\n".join(lines)
