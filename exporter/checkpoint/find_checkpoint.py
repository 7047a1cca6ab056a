"""Find the files of a checkpoint: those that the first row of the table of layouts names whose mark is there.

A layout may lie within another: a transformer in sentence-transformers' folder, the base of an adapter, one folder for
each of two encoders. From a hub only files that are named here or in the table are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpr_export.exporter.checkpoint.adapter import find_base
from dpr_export.exporter.checkpoint.files import Find, files_below, read_object
from dpr_export.exporter.checkpoint.layouts import ADAPTER, LAYOUTS, SENTENCE_TRANSFORMERS, Layout
from dpr_export.exporter.checkpoint.sentence_transformers import MODULES_FILE, Linear, read_modules
from dpr_export.exporter.checkpoint.tokenizer import VOCABULARY_FILES
from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.options import ExportOptions
from dpr_export.models.tokenization.tokenizer_files import TOKENIZER_FILES

OpenFiles = Callable[[str, str | None], Find]  # from a folder or a name on the hub, and a revision, to its files
# Tevatron's linear layer after an encoder: the file of weights, that of its settings, and the names by kind.
_POOLER = ("pooler.pt", "pooler_config.json")
_POOLER_PREFIXES = {"question": "linear_q.", "context": "linear_p."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on this machine: its files, and what they say of the model.

    Attributes:
        name: the SOURCE that was asked for.
        layout: the title of its row in the table.
        config: the configuration of the model, as the library wrote it.
        weights: the file of weights, or the parts of one that was split.
        tokenizer: the folder with the tokenizer's files; None if there are none.
        revision: the hub's commit; None for other sources.
        kind: the kind that the user or the layout names.
        pooling: "cls", "pooler" or "mean"; None where neither the user nor the layout names it.
        normalize: whether vectors are divided by their length.
        similarity: how vectors are compared: "inner_product" or "cosine".
        longest: the largest number of tokens of a row; None: as the tokenizer says.
        projections: the linear layers after the pooling that stand in files of their own, in their order.
        adapter: the adapter_config.json and the files of weights of an adapter to be merged.
        heads: the number of attention heads, for a facebookresearch/DPR file; None: the hidden size / 64.
    """

    name: str
    layout: str
    config: dict[str, Any]
    weights: tuple[Path, ...]
    tokenizer: Path | None
    revision: str | None = None
    kind: str | None = None
    pooling: str | None = None
    normalize: bool = False
    similarity: str = "inner_product"
    longest: int | None = None
    projections: tuple[Linear, ...] = ()
    adapter: tuple[dict[str, Any], tuple[Path, ...]] | None = None
    heads: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of weights."""
        adapter = self.adapter[1] if self.adapter else ()
        return *self.weights, *(layer.file for layer in self.projections), *adapter


def find_checkpoint(
    find: Find, name: str, options: ExportOptions, open_files: OpenFiles, rows: Sequence[Layout] = LAYOUTS
) -> Checkpoint:
    """Find the files of a checkpoint.

    Args:
        find: finds its files by name.
        name: the SOURCE that was asked for.
        options: `kind`, `pooling` and `tokenizer` of them.
        open_files: opens another checkpoint: the base of an adapter, or that of `options.tokenizer`.
        rows: the rows of the table that may hold.

    Raises:
        ExportError: no row of the table holds, or a file that it names is missing or damaged.
    """
    layout, content = _find_layout(find, name, rows)
    if layout is SENTENCE_TRANSFORMERS:
        return _around_transformer(find, name, options, open_files, rows)
    if layout is ADAPTER:
        return _with_adapter(find, name, options, open_files, content)
    if layout.folders:
        folder = layout.folders.get(options.kind or "")
        if folder is None:
            asked = f"kind is {options.kind!r}, but " if options.kind else ""
            raise ExportError(f"{asked}{name} holds {' and '.join(layout.folders)} encoders: say which with --kind")
        found = find_checkpoint(files_below(find, folder), f"{folder}... of {name}", options, open_files, rows)
        found = replace(found, name=name, layout=layout.title, tokenizer=found.tokenizer or _find_tokenizer(find))
        return _with_pooler(find, found)
    config = content.get(layout.part, {}) if layout.part else content
    if not isinstance(config, dict):
        raise ExportError(f"{layout.part} in {layout.mark} of {name} is {config!r}, and must be an object")
    if layout.kind and options.kind not in (None, layout.kind):
        raise ExportError(f"kind is {options.kind!r}, but {name} ({layout.title}) holds a {layout.kind} encoder")
    if layout.class_field != "architectures":
        config = config | {"architectures": [config.get(layout.class_field)]}
    found = Checkpoint(
        name=name,
        layout=layout.title,
        config=config,
        weights=_find_weights(find, layout.weights, name),
        tokenizer=_tokenizer_of(find, layout.tokenizer, options, open_files),
        kind=options.kind or layout.kind,
        pooling=options.pooling,
    )
    return found if config.get("model_type") == "dpr" else _with_pooler(find, found)


def _find_layout(find: Find, name: str, rows: Sequence[Layout]) -> tuple[Layout, dict[str, Any]]:
    """Return the row that holds, and the content of its mark; nothing for modules.json, which is a list."""
    for layout in rows:
        if find(layout.mark) is None:
            continue
        content = {} if layout is SENTENCE_TRANSFORMERS else read_object(find, layout.mark, name)
        if layout.model_type in (None, content.get("model_type")):
            return layout, content
    marks = ", ".join(dict.fromkeys(layout.mark for layout in rows))
    raise ExportError(f"{name} is not a checkpoint: it has none of {marks}")


def _around_transformer(
    find: Find, name: str, options: ExportOptions, open_files: OpenFiles, rows: Sequence[Layout]
) -> Checkpoint:
    modules = read_modules(find, name)
    if options.pooling not in (None, modules.pooling):
        raise ExportError(f"pooling is {options.pooling!r}, but {MODULES_FILE} of {name} says {modules.pooling!r}")
    rows = [row for row in rows if row is not SENTENCE_TRANSFORMERS]
    inner = find_checkpoint(files_below(find, modules.folder), name, options, open_files, rows)
    config = inner.config | ({"projection_dim": modules.projection_dim} if modules.projections else {})
    return replace(
        inner,
        layout=SENTENCE_TRANSFORMERS.title + (", prompts left out" if modules.prompts else ""),
        config=config,
        pooling=modules.pooling,
        normalize=modules.normalize,
        similarity=modules.similarity,
        longest=modules.longest,
        projections=modules.projections,
    )


def _with_adapter(
    find: Find, name: str, options: ExportOptions, open_files: OpenFiles, config: dict[str, Any]
) -> Checkpoint:
    base, revision = find_base(config, name), config.get("revision")
    weights = _find_weights(find, ADAPTER.weights, name)
    # With --pooling the base is the transformer alone, whatever modules stand around it.
    around = (ADAPTER, SENTENCE_TRANSFORMERS) if options.pooling else (ADAPTER,)
    rows = [row for row in LAYOUTS if row not in around]
    try:
        files = open_files(base, revision if isinstance(revision, str) else None)
        found = find_checkpoint(files, base, options, open_files, rows)
    except ExportError as error:
        raise ExportError(f"{name} is an adapter of {base}: {error}") from None
    own = _find_tokenizer(find) if options.tokenizer is None else None
    return replace(
        found,
        name=name,
        layout=f"{ADAPTER.title}, base: {found.layout}",
        adapter=(config, weights),
        tokenizer=own or found.tokenizer,
    )


def _with_pooler(find: Find, found: Checkpoint) -> Checkpoint:
    """Add the linear layer that Tevatron writes beside one or two encoders, as their projection."""
    path = find(_POOLER[0])
    if path is None and find(_POOLER[1]) is None:
        return found
    settings = read_object(find, _POOLER[1], found.name)
    prefix = _POOLER_PREFIXES.get(found.kind or "")
    if path is None or prefix is None:
        why = f"lacks {_POOLER[0]}" if path is None else f"has a pooler for each kind in {_POOLER[0]}: give --kind"
        raise ExportError(f"{found.name} {why}")
    return replace(
        found,
        config=found.config | {"projection_dim": settings.get("output_dim")},
        projections=(Linear(path, prefix),),
        normalize=settings.get("normalize") is True,
    )


def _find_weights(find: Find, names: Sequence[str], name: str) -> tuple[Path, ...]:
    """Return the file of weights, or the parts that its index names."""
    for file in names:
        if path := find(file):
            return (path,)
        index = f"{file}.index.json"
        if find(index) is None:
            continue
        parts = read_object(find, index, name).get("weight_map")
        if not isinstance(parts, dict) or not parts or not all(_is_plain(part) for part in parts.values()):
            raise ExportError(f"weight_map in {index} of {name} must name files beside it")
        paths = {part: find(part) for part in sorted(set(parts.values()))}
        if lost := [part for part, path in paths.items() if path is None]:
            raise ExportError(f"{name} lacks {lost[0]}, a part of its weights")
        return tuple(path for path in paths.values() if path is not None)
    raise ExportError(f"{name} has no weights: none of {', '.join(names)} exists")


def _is_plain(name: Any) -> bool:
    """Whether a value is the name of a file, without a folder before it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _tokenizer_of(find: Find, folder: str, options: ExportOptions, open_files: OpenFiles) -> Path | None:
    if options.tokenizer is None:
        return _find_tokenizer(files_below(find, folder)) or _find_tokenizer(find)
    return find_tokenizer(open_files(str(options.tokenizer), None), str(options.tokenizer))


def find_tokenizer(find: Find, name: str) -> Path:
    """Return the folder of a tokenizer; an ExportError if there is none."""
    if found := _find_tokenizer(find):
        return found
    raise ExportError(
        f"tokenizer {name} cannot be read: {name} holds no tokenizer: looked for tokenizer.json and vocab.txt"
    )


def _find_tokenizer(find: Find) -> Path | None:
    """Return the folder with a tokenizer's files, all of which are on this machine then; None if there are none."""
    found = {file: find(file) for file in TOKENIZER_FILES}
    if not (found["tokenizer.json"] or found["vocab.txt"]):
        found = {file: find(file) for file in VOCABULARY_FILES}
        if not any(found.values()):
            return None
    return next(path.parent for path in found.values() if path is not None)
