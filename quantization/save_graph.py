"""Write a graph: in one file, or with the weights in a file of data beside it where they are large.

Everything that the project writes goes through here, so that a graph's data never lies anywhere else than
`models/artifact/graph_files.py` says, and never in the file of the graph that it was made from.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dpr_export.models.artifact.graph_files import data_file, remove_graph

if TYPE_CHECKING:
    import onnx
    import onnx_ir

LARGEST_INLINE = 1536 * 1024**2  # bytes of weights; an .onnx file holds 2 GB at the most


def save_graph(model: "onnx.ModelProto | onnx_ir.Model", path: Path) -> None:
    """Write a graph, in place of the files of an earlier one; the model may have been read from those.

    Args:
        model: the graph. Its weights are in memory, or in a file that `onnx_ir.load` found.
        path: the .onnx file to write. Data go to `PATH.data`.
    """
    import onnx_ir
    from onnx_ir import external_data

    if not isinstance(model, onnx_ir.Model):
        model = onnx_ir.from_proto(model)
    weights = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    if sum(weight.nbytes for weight in weights) > LARGEST_INLINE:
        onnx_ir.save(model, path, external_data=data_file(path.name))
        return
    external_data.load_to_model(model)
    remove_graph(path)
    onnx_ir.save(model, path)
