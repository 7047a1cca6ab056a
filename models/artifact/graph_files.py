"""The files of a graph: the .onnx file, and for large weights a file of data beside it.

ONNX files end at 2 GB. The weights of a larger graph are in `model.onnx.data`, which the graph refers to by that name:
both files are copied, moved, hashed and downloaded together, and keep their names.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path


def data_file(graph: str) -> str:
    """Return the path of a graph's file of data, whether there is one or not.

    >>> data_file("onnx/model.onnx")
    'onnx/model.onnx.data'
    """
    return f"{graph}.data"


def graph_files(graph: Path) -> list[Path]:
    """Return the files of a graph, its data last."""
    data = Path(data_file(str(graph)))
    return [graph, data] if data.exists() else [graph]


def copy_graph(graph: Path, folder: Path) -> None:
    """Copy a graph's files into a folder, in place of a graph of that name."""
    remove_graph(folder / graph.name)
    for path in graph_files(graph):
        shutil.copyfile(path, folder / path.name)


def move_graph(graph: Path, folder: Path) -> None:
    """Move a graph's files into a folder of the same file system, in place of a graph of that name; its data first."""
    if not Path(data_file(str(graph))).exists():
        Path(data_file(str(folder / graph.name))).unlink(missing_ok=True)
    for path in reversed(graph_files(graph)):
        path.replace(folder / path.name)


def remove_graph(graph: Path) -> None:
    """Remove a graph's files, if there are any."""
    for path in (graph, Path(data_file(str(graph)))):
        path.unlink(missing_ok=True)


def combine_hashes(hashes: Sequence[str]) -> str:
    """Return one SHA-256 for a graph: that of its only file, or a hash over those of its files."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
