"""Fuse a graph with ONNX Runtime's own operators: attention, LayerNorm with its residual, GELU with its bias.

onnxscript's rewriter knows the shape of graph that `torch.onnx.export` makes today; ONNX Runtime's own optimizer for
BERT finds no attention in it. The projections of queries, keys and values stay the matrix products they were: fused
into one Attention operator they could not be quantized without losing the mask (see int8_dynamic.py).

The result is for ONNX Runtime alone: other engines do not know its operators. onnxscript takes a second to import, so
it is imported when it is needed.
"""

from collections import Counter
from pathlib import Path

from dpr_export.quantization.errors import QuantizationError

_ATTENTION = ("MultiHeadAttention", "Attention")
_ANY_SIZE = 1 << 40


def fuse(source: Path, output: Path) -> dict[str, int]:
    """Write the fused graph.

    Args:
        source: the .onnx file of standard operators.
        output: the .onnx file to write.

    Returns:
        How many of each of ONNX Runtime's own operators the result has, by name.

    Raises:
        QuantizationError: fewer attentions were fused than the graph has layers.
    """
    import onnx_ir
    from onnxscript.optimizer import optimize
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    model = onnx_ir.load(source)
    layers = sum(node.op_type == "Softmax" for node in model.graph)
    fused, _ = optimize_for_ort(model)
    optimize(fused, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    counts = Counter(node.op_type for node in fused.graph if node.domain == "com.microsoft")
    attentions = sum(counts[name] for name in _ATTENTION)
    if attentions != layers:
        raise QuantizationError(f"{attentions} attentions were fused in {source.name}, and it has {layers} layers")
    onnx_ir.save(fused, output)
    return dict(counts)
