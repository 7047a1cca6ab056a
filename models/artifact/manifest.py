"""The manifest of an exported folder: its files, its checkpoint, and the checks that each variant passed.

`manifest.json` is a frozen dataclass written as JSON. Reading it trusts nothing: the type of every field is checked,
and no file that it names may lie outside the folder.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dpr_export.models.artifact.graph_files import combine_hashes, data_file
from dpr_export.models.artifact.records import read_json, record_from_json, record_to_json
from dpr_export.models.kinds import KINDS

MANIFEST_FILE = "manifest.json"
SCHEMA = 4
SIMILARITIES = ("inner_product", "cosine")
REFERENCE_OUTPUTS_FILE = "reference_outputs.npz"
SAMPLE_FILE = "evaluation_sample.npz"
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", REFERENCE_OUTPUTS_FILE, SAMPLE_FILE)


@dataclass(frozen=True, slots=True)
class Source:
    """The exported checkpoint: its name, its commit (from the hub only), and the SHA-256 of its weights."""

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
    """The result of a variant's parity check against the PyTorch model.

    Attributes:
        engine: the library that ran the variant, with its version.
        shapes: the (batch, sequence) sizes that were compared.
        atol: the absolute part of the tolerance.
        largest_error: the largest absolute difference, over all outputs and shapes.
        share_of_tolerance: the error of the worst output as a share of its tolerance. Over 1 fails the check.
    """

    engine: str
    shapes: tuple[tuple[int, int], ...]
    atol: float
    largest_error: float
    share_of_tolerance: float


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """The accuracy drop of a lossy variant, measured against the fp32 graph.

    Attributes:
        engine: the library that ran the variant, with its version.
        shapes: the (batch, sequence) sizes at which every output was finite.
        largest_error: the largest absolute difference to the PyTorch model there, over all outputs.
        sample_cosine: the least cosine with the PyTorch model on evaluation_sample.npz.
        sample_bound: the least that it may be on another machine, where the variant is checked again.
        metrics: cosines and shares of equal answers, by name. 1 means no drop.
        below_bound: the names of the metrics that are below their bound.
        evaluation_set_sha256: the SHA-256 of the texts that the metrics were measured on.
        calibration_set_sha256: the SHA-256 of the texts that scales and sensitive operators were found with.
        settings: the quantizer's settings that were chosen for this model.
    """

    engine: str
    shapes: tuple[tuple[int, int], ...]
    largest_error: float
    sample_cosine: float
    sample_bound: float
    metrics: dict[str, float]
    below_bound: tuple[str, ...]
    evaluation_set_sha256: str
    calibration_set_sha256: str
    settings: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One graph of the folder, for one backend and one precision.

    Attributes:
        backend: the backend that runs it.
        precision: "fp32", "fp16" or "int8".
        file: the path of the graph in the folder.
        parity: the result of its parity check; None for a lossy variant.
        accuracy_drop: the accuracy drop of a lossy variant; None for one with a parity check.
        verified: whether it passed its check on its own backend. "auto" picks verified variants only.
        fused_operators: the number of ONNX Runtime's fused operators in the graph, by name.
        speedup: its speed divided by that of `model.onnx` on the same backend, measured at export.
        optional_outputs: the outputs that it has besides those of its kind: "hidden_states", "attentions".
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
    """The content of `manifest.json`.

    Attributes:
        kind: "question", "context" or "reader".
        source: the exported checkpoint.
        versions: the versions of the packages that made the folder, by name.
        opset: the ONNX operator set of the graphs.
        variants: the graphs, in the order that they were made.
        files: every file of the folder except the manifest, by its path in the folder.
        absent_weights: for each graph that was traced, the checkpoint's weights that it lacks without effect, by name,
            each with the reason.
        similarity: how vectors of this model are compared: "inner_product", as DPR's, or "cosine".
        schema: the version of this layout.
    """

    kind: str
    source: Source
    versions: dict[str, str]
    opset: int
    variants: tuple[Variant, ...]
    files: dict[str, FileRecord]
    absent_weights: dict[str, dict[str, str]] = field(default_factory=dict)
    similarity: str = "inner_product"
    schema: int = SCHEMA

    def files_of(self, graph: str) -> tuple[str, ...]:
        """Return the files of a graph: the .onnx file, and its data if that is a file of its own."""
        return graph, *(name for name in (data_file(graph),) if name in self.files)

    def graph_sha256(self, graph: str) -> str:
        """Return the SHA-256 that tells a graph with its weights from every other."""
        return combine_hashes([self.files[name].sha256 for name in self.files_of(graph)])

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return record_to_json(self)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read the text of a `manifest.json`.

        Raises:
            ValueError: not JSON, another schema, a field missing or of the wrong type, or a path outside the folder.
        """
        manifest = record_from_json(cls, text, MANIFEST_FILE, SCHEMA, oldest=SCHEMA)
        if manifest.kind not in KINDS:
            raise ValueError(f"{MANIFEST_FILE}: kind is {manifest.kind!r}, and must be one of: {', '.join(KINDS)}")
        if manifest.similarity not in SIMILARITIES:
            known = ", ".join(SIMILARITIES)
            raise ValueError(f"{MANIFEST_FILE}: similarity is {manifest.similarity!r}, and must be one of: {known}")
        if not manifest.variants:
            raise ValueError(f"{MANIFEST_FILE} names no variants")
        for path in (*manifest.files, *(variant.file for variant in manifest.variants)):
            _check_path(path)
            if path not in manifest.files:
                raise ValueError(f"{MANIFEST_FILE}: the variant file {path!r} is not among the files")
        for variant in manifest.variants:
            if (variant.parity is None) == (variant.accuracy_drop is None):
                raise ValueError(f"{MANIFEST_FILE}: {variant.file} must have parity or accuracy_drop, and not both")
        if missing := [name for name in REQUIRED_FILES if name not in manifest.files]:
            raise ValueError(f"{MANIFEST_FILE} does not list {missing[0]}")
        return manifest


def is_exported_folder(folder: Path) -> bool:
    """Return whether a folder has a manifest of this package, of any schema; other programs write manifest.json too."""
    try:
        values = read_json(folder / MANIFEST_FILE)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"schema", "kind", "variants", "files"} <= values.keys()


def _check_path(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or set(name) & set("\\:") or not name.isprintable():
        raise ValueError(f"{MANIFEST_FILE} names {name!r}, which is not a path within the folder")
