"""PyTorch to ONNX: load a DPR checkpoint, trace it, prove the graph equal, and write the exported folder."""

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.export import export
from dpr_export.exporter.hub.push import push

__all__ = ["ExportError", "export", "push"]
