"""Remember which graphs passed their check on this machine, so that each is checked once and not at every load.

A verdict is kept in the user's cache folder, under everything that may change it: the graph, the sample, the engine's
version, the precision and the processor's instruction sets. Where that folder cannot be written, this process
remembers it.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dpr_export.models.artifact.atomic_writing import atomic_file
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.artifact.manifest import SAMPLE_FILE, Variant
from dpr_export.models.artifact.records import record_from_json, record_to_json
from dpr_export.models.artifact.reference_outputs import read_reference_outputs
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.compile_cache import cache_home, forget_kept, forget_old
from dpr_export.runtime.engines.devices import parse_device
from dpr_export.runtime.engines.nvidia.driver import compute_capability
from dpr_export.runtime.engines.processors import processor_features, processor_kind
from dpr_export.runtime.engines.session import Session
from dpr_export.runtime.inference.sample import find_bound, measure_least_cosine

_SCHEMA = 1
_KEPT = 1000
_remembered: dict[str, "Verdict"] = {}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check on this machine: the least cosine with the PyTorch model, and its bound."""

    cosine: float
    bound: float
    schema: int = _SCHEMA

    @property
    def passed(self) -> bool:
        return self.cosine >= self.bound

    def __str__(self) -> str:
        found = f"least cosine with the PyTorch model {self.cosine:.4f} on this machine"
        return found if self.passed else f"{found}, and it must be at least {self.bound:.4f}"


def find_verdict(folder: ExportedFolder, variant: Variant, precision: str, device: str) -> Verdict | None:
    """Return the verdict on a variant, at a precision and on a device of this machine; None if there is none yet.

    There is never one for TensorRT, whose engine files are checked when they are built.
    """
    if variant.backend == "tensorrt":
        return None
    key = _key(folder, variant, precision, device)
    if key not in _remembered:
        path = _folder() / f"{key}.json"
        with suppress(OSError, ValueError):  # not there, or damaged: the variant is checked again
            _remembered[key] = record_from_json(Verdict, path.read_text(encoding="utf-8"), path.name, _SCHEMA)
    return _remembered.get(key)


def judge(session: Session, folder: ExportedFolder, variant: Variant, precision: str) -> Verdict:
    """Run the folder's sample on a session of a variant, and compare the outputs with the PyTorch model's.

    Raises:
        RuntimeError: the engine failed.
        ValueError: the sample is damaged, or the graph is and fails for that.
    """
    calls = read_reference_outputs(folder.path / SAMPLE_FILE)
    cosine = measure_least_cosine(session, KINDS[folder.manifest.kind], calls)
    verdict = Verdict(round(cosine, 6), find_bound(variant, precision))
    if not verdict.passed:
        try:
            folder.check_graph(variant.file)
        except ValueError:
            forget_kept(variant.backend, folder.manifest.graph_sha256(variant.file))
            raise
    return verdict


def remember(verdict: Verdict, folder: ExportedFolder, variant: Variant, precision: str, device: str) -> None:
    """Keep a verdict in the cache folder, and in this process."""
    key = _key(folder, variant, precision, device)
    _remembered[key] = verdict
    with suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        forget_old(_folder(), _KEPT)
        with atomic_file(_folder() / f"{key}.json") as file:
            file.write(record_to_json(verdict).encode())


def _folder() -> Path:
    return cache_home() / "verdicts"


def _key(folder: ExportedFolder, variant: Variant, precision: str, device: str) -> str:
    parts = [
        folder.manifest.graph_sha256(variant.file),
        folder.manifest.files[SAMPLE_FILE].sha256,
        variant.backend,
        _engine_version(variant.backend),
        precision,
        repr(find_bound(variant, precision)),
        *_hardware(device),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _hardware(device: str) -> list[str]:
    """What distinguishes the machine's processor, or one of its GPUs, from others."""
    kind, index = parse_device(device)
    return [kind, compute_capability(index)] if kind == "cuda" else [processor_kind(), *sorted(processor_features())]


def _engine_version(backend: str) -> str:
    for name in (backend, f"{backend}-gpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return "unknown"
