"""Find the files of a checkpoint by name, in a folder or on the hub, and read the small ones."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dpr_export.exporter.errors import ExportError
from dpr_export.models.artifact.records import read_json

Find = Callable[[str], Path | None]  # from the name of a file in a checkpoint to its place on this machine


def files_of(folder: Path) -> Find:
    """Return a function that finds the files of a folder."""
    return lambda file: folder / file if (folder / file).is_file() else None


def files_below(find: Find, folder: str) -> Find:
    """Return a function that finds the files of a folder within a checkpoint; "" is the checkpoint itself."""
    return lambda file: find(folder + file)


def find_first(find: Find, files: Iterable[str]) -> Path | None:
    """Return the first file that exists."""
    return next(filter(None, map(find, files)), None)


def read_object(find: Find, file: str, name: str) -> dict[str, Any]:
    """Return the object that a JSON file holds; `name` is the checkpoint's.

    Raises:
        ExportError: there is no such file, or it holds something else.
    """
    path = find(file)
    if path is None:
        raise ExportError(f"{name} has no {file}")
    content = read_content(path)
    if not isinstance(content, dict):
        raise ExportError(f"{path} holds a {type(content).__name__}, but must hold an object")
    return content


def read_content(path: Path) -> Any:
    """Return the content of a JSON file. Raises an ExportError if it is damaged."""
    try:
        return read_json(path)
    except ValueError as error:
        raise ExportError(str(error)) from None
