"""Export DPR checkpoints from PyTorch to ONNX: load, trace, check parity with PyTorch, write the exported folder."""

from dpr_export.exporter.errors import ExportError
from dpr_export.exporter.export import export
from dpr_export.exporter.hub.push import push
from dpr_export.exporter.options import ExportOptions

__all__ = ["ExportError", "ExportOptions", "export", "push"]
