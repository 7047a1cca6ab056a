"""Exported folders with a changed graph whose manifest agrees with it: only what the graph computes can tell."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from dpr_export.models.artifact.folder import ExportedFolder, hash_file
from dpr_export.models.artifact.manifest import MANIFEST_FILE


def reverse_matrices(model: onnx.ModelProto) -> None:
    """Reverse rows and columns of every matrix, quantized or not; all of its numbers stay."""
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2 and min(tensor.dims) > 1:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[::-1, ::-1]), tensor.name))


def copy_changed(source: Path, output: Path, change: Callable[[onnx.ModelProto], None], *files: str) -> Path:
    """Copy an exported folder, change some of its graphs, and write the manifest to say so."""
    shutil.copytree(source, output)
    manifest = ExportedFolder.read(output).manifest
    records = dict(manifest.files)
    for file in files:
        model = onnx.load(output / file)
        change(model)
        onnx.save(model, output / file)
        records[file] = hash_file(output / file)
    (output / MANIFEST_FILE).write_text(replace(manifest, files=records).to_json())
    return output
