"""How far static INT8 on OpenVINO is from what the machine can do: python -m benchmarks.limits KIND FOLDER THREADS

Two limits are measured: how fast OpenVINO multiplies large INT8 matrices when it does nothing else, and how fast all
threads read memory. No call can take less time than its multiplications take at the first rate, nor less than its
weights take to be read at the second. Beside them, where the time of each call goes, operator by operator.

The multiply-adds are counted from the configuration: an encoder's last layer computes queries, attention and feed
forward for the [CLS] row alone. Prints JSON.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from openvino import properties
from openvino.properties import hint

from benchmarks.contenders import OURS
from benchmarks.operations import multiply_adds, weight_bytes
from benchmarks.parts import feeds_of
from benchmarks.place import SHAPES, shape_name
from dpr_export import runtime
from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS

Records = dict[str, Any]
PRODUCTS = ((1024, 768, 3072), (2048, 3072, 768), (2048, 768, 768), (4096, 768, 3072))  # rows, inner, columns
_CHAIN = 8  # products in one graph, so that turning float32 into INT8 at its ends hardly counts
_READ_BYTES = 1 << 29
_SECONDS = 1.5


def product_chain(rows: int, inner: int, columns: int, int8: bool) -> onnx.ModelProto:
    """Products (rows, inner) x (inner, columns) and back, in a row; in INT8 as the exported graphs are, or float32."""
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
    ]
    nodes, last = [], "x"
    for number in range(_CHAIN):
        weights = rng.integers(-127, 128, (inner, columns) if number % 2 == 0 else (columns, inner), np.int8)
        left, right, product = f"left{number}", f"right{number}", f"product{number}"
        if int8:
            constants.append(numpy_helper.from_array(weights, f"weights{number}"))
            nodes += [
                helper.make_node("QuantizeLinear", [last, "scale", "zero"], [f"quantized{number}"]),
                helper.make_node("DequantizeLinear", [f"quantized{number}", "scale", "zero"], [left]),
                helper.make_node("DequantizeLinear", [f"weights{number}", "scale", "zero"], [right]),
            ]
        else:
            constants.append(numpy_helper.from_array(weights.astype(np.float32), right))
            left = last
        nodes.append(helper.make_node("MatMul", [left, right], [product]))
        last = product
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, inner]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def operations_per_second(threads: int, int8: bool) -> float:
    """The best rate of several sizes; a multiply-add is two operations."""
    best = 0.0
    for rows, inner, columns in PRODUCTS:
        model = ov.Core().read_model(product_chain(rows, inner, columns, int8).SerializeToString())
        request = ov.compile_model(model, "CPU", _options(threads)).create_infer_request()
        x = np.random.default_rng(0).normal(size=(rows, inner)).astype(np.float32)
        seconds = _least(partial(request.infer, [x], share_inputs=True))
        best = max(best, 2.0 * _CHAIN * rows * inner * columns / seconds)
    return best


def bytes_per_second(threads: int) -> float:
    """How fast all threads together read an array far larger than the caches."""
    parts = np.array_split(np.ones(_READ_BYTES // 4, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        return _READ_BYTES / _least(lambda: list(pool.map(np.max, parts)))


def _options(threads: int, profile: bool = False) -> dict[Any, Any]:
    """As the runtime's own session sets them."""
    return {
        hint.inference_precision(): ov.Type.f32,
        hint.performance_mode(): hint.PerformanceMode.LATENCY,
        properties.num_streams(): 1,
        properties.inference_num_threads(): threads,
        properties.enable_profiling(): profile,
    }


def _times(call: Callable[[], Any]) -> list[float]:
    call()
    times: list[float] = []
    while sum(times) < _SECONDS or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _least(call: Callable[[], Any]) -> float:
    return min(_times(call))


def profile(graph: Path, threads: int, feeds: dict[str, Any]) -> dict[str, float]:
    """The share of each type of operator in the time of one call."""
    request = ov.Core().compile_model(graph, "CPU", _options(threads, profile=True)).create_infer_request()
    shares: dict[str, float] = defaultdict(float)
    for _ in range(3):
        request.infer(feeds)
    for _ in range(5):
        request.infer(feeds)
        for node in request.get_profiling_info():
            shares[node.node_type] += node.real_time.total_seconds()
    total = sum(shares.values())
    return {name: share / total for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share}


def measure(kind: str, folder: Path, threads: int) -> Records:
    """The limits, and for each shape: its time, its work, and where its time goes."""
    config = DPRConfig.from_pretrained(folder)
    backend, precision = OURS.options["backend"], OURS.options["precision"]
    variants = ExportedFolder.open(folder).manifest.variants
    graph = next(folder / v.file for v in variants if (v.backend, v.precision) == (backend, precision))
    fp32 = operations_per_second(threads, int8=False)
    int8, read = _int8_and_read(threads)
    shapes: Records = {}
    model_class = getattr(runtime, KINDS[kind].architecture)
    with model_class.from_pretrained(folder, backend=backend, precision=precision, threads=threads) as model:
        for shape in SHAPES:
            feeds = {name: np.asarray(rows, np.int64) for name, rows in feeds_of(kind, shape).items()}
            shapes[shape_name(shape)] = {
                "ms": median(_times(partial(model, **feeds))) * 1000,
                "operations": 2 * multiply_adds(config, kind, *shape),
                "operators": profile(graph, threads, feeds),
            }
    int8, read = np.maximum((int8, read), _int8_and_read(threads)).tolist()  # the better of before and after
    for found in shapes.values():
        found["least_ms_by_products"] = found["operations"] / int8 * 1000
        found["least_ms_by_memory"] = weight_bytes(config) / read * 1000
    return {
        "int8_operations_per_second": int8,
        "fp32_operations_per_second": fp32,
        "bytes_per_second": read,
        "shapes": shapes,
    }


def _int8_and_read(threads: int) -> tuple[float, float]:
    return operations_per_second(threads, int8=True), bytes_per_second(threads)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
