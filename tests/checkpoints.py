"""Find a checkpoint in a folder, as an export does."""

from pathlib import Path

from dpr_export.exporter.checkpoint.files import Find, files_of
from dpr_export.exporter.checkpoint.find_checkpoint import Checkpoint, find_checkpoint
from dpr_export.exporter.options import DEFAULT_OPTIONS, ExportOptions


def checkpoint_in(folder: Path, name: str = "x", options: ExportOptions = DEFAULT_OPTIONS) -> Checkpoint:
    """Return the checkpoint that a folder holds; what it refers to must be a folder too."""

    def open_files(other: str, _: str | None) -> Find:
        return files_of(Path(other))

    return find_checkpoint(files_of(folder), name, options, open_files)
