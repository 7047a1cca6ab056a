"""The manifest of an exported folder: what is in it, where it came from, and how it was proved.

A manifest is a frozen dataclass written as JSON. Reading one trusts nothing: every field is checked for its type, and
no file it names may lie outside the folder.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dpr_export.models.artifact.records import read_record, written_record
from dpr_export.models.kinds import KINDS

MANIFEST_FILE = "manifest.json"
SCHEMA = 3
REFERENCE_OUTPUTS_FILE = "reference_outputs.npz"
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", REFERENCE_OUTPUTS_FILE)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint came from: its name, its revision (hub commits only) and its weights' SHA-256."""

    name: str
    revision: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file's size and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ParityResult:
    """How a variant was shown to equal the original.

    Attributes:
        engine: what computed the variant's outputs, with its version.
        shapes: the (batch, sequence) sizes it was compared on.
        atol: the absolute part of the bound that every output had to keep.
        largest_error: the largest absolute difference to the original, over all outputs and shapes.
        share_of_tolerance: how much of its bound the worst output used: over 1 fails the export.
    """

    engine: str
    shapes: tuple[tuple[int, int], ...]
    atol: float
    largest_error: float
    share_of_tolerance: float


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """What a lossy variant costs, against the fp32 graph.

    Attributes:
        engine: what computed the variant's outputs, with its version.
        shapes: the (batch, sequence) sizes at which every output was shown to be finite.
        largest_error: the largest absolute difference to the original there, over all outputs.
        reference_output_error: the relative error over the examples of reference_outputs.npz, which
            `dpr-runtime verify` compares with.
        metrics: shares and cosines of the gate, by name: 1 is no loss.
        below_bound: the names of the metrics that are below their bound.
        evaluation_set_sha256: the texts that the metrics were measured on.
        calibration_set_sha256: the texts that it was made with, to measure scales and to find what is sensitive.
        settings: how it was made, where there was a choice.
    """

    engine: str
    shapes: tuple[tuple[int, int], ...]
    largest_error: float
    reference_output_error: float
    metrics: dict[str, float]
    below_bound: tuple[str, ...]
    evaluation_set_sha256: str
    calibration_set_sha256: str
    settings: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One graph of the folder: what runs it, at which precision, and what was shown of it.

    Attributes:
        backend: the engine it is for.
        precision: "fp32", "fp16" or "int8".
        file: the graph.
        parity: the result of its parity check; None for a lossy variant.
        accuracy_drop: what it costs; None for a variant that passes the parity check.
        verified: it passed on the engine that it is for: "auto" picks only such.
        fused_operators: how many of ONNX Runtime's own operators the graph has, by name.
        speedup: how many times as fast as `model.onnx` on the same engine it was, where it was made.
        optional_outputs: what it gives besides its kind's outputs: "hidden_states", "attentions".
    """

    backend: str
    precision: str
    file: str
    parity: ParityResult | None
    accuracy_drop: AccuracyDrop | None = None
    verified: bool = True
    fused_operators: dict[str, int] = field(default_factory=dict)
    speedup: float | None = None
    optional_outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        kind: "question", "context" or "reader".
        source: the checkpoint.
        versions: the packages that made the folder, name to version.
        opset: the ONNX operator set of the graphs.
        variants: the graphs, in the order they were made.
        files: every file of the folder but the manifest, by its path in it.
        schema: the version of this layout.
    """

    kind: str
    source: Source
    versions: dict[str, str]
    opset: int
    variants: tuple[Variant, ...]
    files: dict[str, FileRecord]
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The manifest as `manifest.json` holds it."""
        return written_record(self)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read a manifest back.

        Raises:
            ValueError: not JSON, a newer schema, a field missing or of the wrong type, or a path outside the folder.
        """
        manifest = read_record(cls, text, MANIFEST_FILE, SCHEMA)
        if manifest.kind not in KINDS:
            raise ValueError(f"{MANIFEST_FILE}: kind is {manifest.kind!r}, and must be one of: {', '.join(KINDS)}")
        if not manifest.variants:
            raise ValueError(f"{MANIFEST_FILE} names no variants")
        for path in (*manifest.files, *(variant.file for variant in manifest.variants)):
            _check_path(path)
            if path not in manifest.files:
                raise ValueError(f"{MANIFEST_FILE}: the variant file {path!r} is not among the files")
        for variant in manifest.variants:
            if (variant.parity is None) == (variant.accuracy_drop is None):
                raise ValueError(f"{MANIFEST_FILE}: {variant.file} needs a proof, or what it loses, and not both")
        if missing := [name for name in REQUIRED_FILES if name not in manifest.files]:
            raise ValueError(f"{MANIFEST_FILE} does not list {missing[0]}")
        return manifest


def _check_path(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or set(name) & set("\\:") or not name.isprintable():
        raise ValueError(f"{MANIFEST_FILE} names {name!r}, which is not a path within the folder")
