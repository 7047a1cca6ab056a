"""How near static INT8 on OpenVINO is to the machine's limits: python -m benchmarks.harness.limits KIND FOLDER THREADS

Two limits are measured: how fast OpenVINO multiplies large INT8 matrices when it does nothing else, and how fast all
threads read memory. A call takes at least the time of its multiplications at the first rate, and at least the time to
read its weights at the second.

Multiply-adds are counted from the configuration. An encoder's last layer computes queries, attention and feed-forward
for the [CLS] row alone. Prints JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness.contenders import OURS, load_dpr_export
from benchmarks.harness.tables import SHAPES, shape_name
from benchmarks.harness.texts import random_feeds
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import READER

PRODUCTS = ((1024, 768, 3072), (2048, 3072, 768), (2048, 768, 768), (4096, 768, 3072))  # rows, inner, columns
_CHAIN = 8  # products in one graph: its ends, which turn float32 into INT8, hardly count
_READ_BYTES = 1 << 29
_SECONDS = 1.5


def multiply_adds(config: DPRConfig, kind: str, batch: int, length: int) -> int:
    """The multiply-adds of one call: linear layers, heads, and the two products of attention."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens = batch * length
    row = 4 * hidden * hidden + 2 * hidden * inner + 2 * length * hidden  # one row of one layer
    if kind == READER.name:
        return layers * tokens * row + tokens * 2 * hidden + batch * hidden
    keys_and_values = 2 * hidden * hidden
    last = tokens * keys_and_values + batch * (row - keys_and_values)
    return (layers - 1) * tokens * row + last + batch * hidden * config.projection_dim


def weight_bytes(config: DPRConfig) -> int:
    """The bytes of the linear layers in INT8, which every call reads; it reads only a few rows of the embeddings."""
    return config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)


def product_chain(rows: int, inner: int, columns: int, int8: bool) -> bytes:
    """A graph of products (rows, inner) x (inner, columns) and back; in INT8 as the exported graphs are, or float32."""
    from onnx import TensorProto, helper, numpy_helper

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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def operations_per_second(threads: int, int8: bool) -> float:
    """The best rate over several sizes of matrices; a multiply-add is two operations."""
    best = 0.0
    for rows, inner, columns in PRODUCTS:
        request = compile_model(product_chain(rows, inner, columns, int8), threads)
        x = np.random.default_rng(0).normal(size=(rows, inner)).astype(np.float32)
        seconds = min(time_calls(partial(request.infer, [x], share_inputs=True)))
        best = max(best, 2.0 * _CHAIN * rows * inner * columns / seconds)
    return best


def bytes_per_second(threads: int) -> float:
    """How fast all threads together read an array far larger than the caches."""
    parts = np.array_split(np.ones(_READ_BYTES // 4, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        return _READ_BYTES / min(time_calls(lambda: list(pool.map(np.max, parts))))


def compile_model(model: bytes, threads: int) -> Any:
    """An OpenVINO request of a graph, with the options of the runtime's own session."""
    import openvino as ov
    from openvino import properties
    from openvino.properties import hint

    options = {
        hint.inference_precision(): ov.Type.f32,
        hint.performance_mode(): hint.PerformanceMode.LATENCY,
        properties.num_streams(): 1,
        properties.inference_num_threads(): threads,
    }
    core = ov.Core()
    return core.compile_model(core.read_model(model), "CPU", options).create_infer_request()


def time_calls(call: Callable[[], Any]) -> list[float]:
    """The seconds of calls: at least three, for a second and a half, after one that does not count."""
    call()
    times: list[float] = []
    while sum(times) < _SECONDS or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def measure(kind: str, folder: Path, threads: int) -> dict[str, Any]:
    """The limits, and for each shape its time, its operations, and its least times."""
    config = DPRConfig.from_pretrained(folder)
    _, prepare = load_dpr_export({"kind": kind, "folder": folder, "threads": threads, **OURS.options})
    rates = {"fp32_operations_per_second": operations_per_second(threads, int8=False), **_limits(threads)}
    shapes: dict[str, Any] = {}
    for shape in SHAPES:
        shapes[shape_name(shape)] = {
            "ms": median(time_calls(prepare({"feeds": random_feeds(kind, shape)}))) * 1000,
            "operations": 2 * multiply_adds(config, kind, *shape),
        }
    for name, rate in _limits(threads).items():  # the better of before and after
        rates[name] = max(rate, rates[name])
    for found in shapes.values():
        found["least_ms_by_products"] = found["operations"] / rates["int8_operations_per_second"] * 1000
        found["least_ms_by_memory"] = weight_bytes(config) / rates["bytes_per_second"] * 1000
    return {**rates, "shapes": shapes}


def _limits(threads: int) -> dict[str, float]:
    return {
        "int8_operations_per_second": operations_per_second(threads, int8=True),
        "bytes_per_second": bytes_per_second(threads),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
