"""Convert a graph to fp16 for GPUs; its inputs and outputs keep their types.

fp16 ends at 65,504, which some of BERT's activations pass: nodes with such values stay in float32, as do the mean of
the tokens and the normalization of vectors, where an encoder has them. On CPUs ONNX Runtime
computes an fp16 graph in float32, and rounds only what enters and leaves LayerNorm. So the accuracy gate on a CPU sees
the rounding of weights, and hardly any overflow.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dpr_export.models.telemetry import no_telemetry
from dpr_export.quantization.errors import QuantizationError
from dpr_export.quantization.save_graph import save_graph
from dpr_export.runtime.engines.session import Feeds

with no_telemetry():
    import onnxruntime as ort
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

LARGEST = float(np.finfo(np.float16).max)
# The mask must be finite, or a fully masked row is NaN. Its sum with a score must not overflow, and must round to the
# mask itself, as in float32: at this value that holds for scores up to 16.
MASK = -0.75 * LARGEST
HEADROOM = 4.0
MAX_OFFSET = 16.0
_IN_FLOAT32 = ("mean/", "normalization/")  # sums of tokens and of squares, by how the exporter names their nodes
_LAYER_NORMS = ("LayerNormalization", "SkipLayerNormalization")


def to_fp16(
    source: Path, output: Path, calls: Sequence[Feeds], *, layer_norm_in_float32: bool = True
) -> tuple[str, ...]:
    """Convert a float32 graph to fp16.

    Args:
        source: the .onnx file, of standard or of ONNX Runtime's own operators.
        output: the .onnx file to write.
        calls: inputs to measure activations on, int64 (1, sequence). They must have no padding, or the mask would be
            measured too.
        layer_norm_in_float32: keep LayerNorm, which squares its inputs, in float32, between casts. TensorRT needs that;
            ONNX Runtime's CUDA kernels (1.27 and later) sum in float32 by themselves.

    Returns:
        The names of the nodes that stay in float32 because fp16 cannot hold their values.

    Raises:
        QuantizationError: fp16 cannot hold a weight.
    """
    model = onnx.load(source)
    _make_mask_finite(model)
    spoiled = find_float32_nodes(model, calls)
    _drop_unread_sums(model)
    inferred = _infer_shapes(model)
    _drop_types_of_weights(inferred)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights below fp16's least number become that number, each with a warning
        converted = convert_float_to_float16(
            inferred,
            min_positive_val=float(np.finfo(np.float16).smallest_subnormal),
            max_finite_val=LARGEST,
            keep_io_types=True,
            disable_shape_infer=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *(_LAYER_NORMS if layer_norm_in_float32 else ())],
            node_block_list=[
                *spoiled,
                *(node.name for node in inferred.graph.node if node.name.startswith(_IN_FLOAT32)),
            ],
        )
    _remove_casts_between_float32(converted)
    save_graph(_sort_nodes(converted), output)
    return spoiled


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes by way of files, since in memory that ends at 2 GB."""
    with TemporaryDirectory() as folder:
        plain, inferred = Path(folder, "plain.onnx"), Path(folder, "inferred.onnx")
        save_graph(model, plain)
        onnx.shape_inference.infer_shapes_path(plain, inferred)
        return onnx.load(inferred)


def _drop_unread_sums(model: onnx.ModelProto) -> None:
    """Drop SkipLayerNormalization's fourth output, the sum, where nothing reads it: it costs memory."""
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "SkipLayerNormalization" and not read.intersection(filter(None, node.output[1:])):
            del node.output[1:]


def _drop_types_of_weights(model: onnx.ModelProto) -> None:
    """Drop the notes on weights' types: the converter casts a float32 weight to float32 where it finds one."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def _remove_casts_between_float32(model: onnx.ModelProto) -> None:
    """Let float32 nodes read each other without casts to fp16 and back, in which large numbers overflow."""
    to_half = {node.output[0]: node.input[0] for node in model.graph.node if node.name.endswith("_cast_to_fp16_node")}
    float32 = {
        node.output[0]: to_half[node.input[0]]
        for node in model.graph.node
        if node.name.endswith("_cast_to_fp32_node") and node.input[0] in to_half
    }
    for node in model.graph.node:
        node.input[:] = [float32.get(name, name) for name in node.input]


def _sort_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put each node after those whose outputs it reads, once, and drop those that nothing reads.

    The converter appends its casts at the end, some of them twice.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    nodes = list({node.output[0]: node for node in model.graph.node}.values())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    sorted_model = onnx_ir.from_proto(model)
    sorted_model.graph.sort()
    RemoveUnusedNodesPass()(sorted_model)
    return onnx_ir.to_proto(sorted_model)


def _make_mask_finite(model: onnx.ModelProto) -> None:
    """Replace float32's least number by `MASK`, and refuse any other constant that fp16 cannot hold."""
    least = float(np.finfo(np.float32).min)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            continue
        if values.size == 1 and values.item() == least:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, MASK), tensor.name))
        elif np.abs(values).max(initial=0.0) > LARGEST:
            raise QuantizationError(
                f"the weight {tensor.name} holds {np.abs(values).max():.3g}, and fp16 ends at {LARGEST:,.0f}"
            )


def find_float32_nodes(model: onnx.ModelProto, calls: Sequence[Feeds]) -> tuple[str, ...]:
    """Name the nodes that read or write a value that fp16 cannot hold, on any of the calls.

    Such a value is above a quarter of fp16's largest, so that other texts find headroom. Or LayerNorm normalizes it,
    and its mean is above 16 standard deviations: LayerNorm subtracts the mean, and what is left has lost four bits of
    fp16's eleven and more.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors alone
    with TemporaryDirectory() as folder:  # by way of files, since in memory a graph ends at 2 GB
        save_graph(watched, Path(folder, "watched.onnx"))
        session = ort.InferenceSession(f"{folder}/watched.onnx", options, providers=["CPUExecutionProvider"])
    norms = [node for node in model.graph.node if node.op_type in _LAYER_NORMS]
    normalized = {node.output[3] if len(node.output) > 3 else node.input[0] for node in norms}
    spoiled = {
        name
        for feeds in calls
        for name, value in zip(names, session.run(names, feeds), strict=True)
        if value.dtype == np.float32 and (_is_large(value) or (name in normalized and _has_offset(value)))
    }
    return tuple(node.name for node in model.graph.node if spoiled & {*node.input, *node.output})


def _is_large(value: NDArray[np.float32]) -> bool:
    return bool(np.abs(value).max(initial=0.0) > LARGEST / HEADROOM)


def _has_offset(value: NDArray[np.float32]) -> bool:
    return bool((np.abs(value.mean(axis=-1)) > MAX_OFFSET * value.std(axis=-1)).any())
