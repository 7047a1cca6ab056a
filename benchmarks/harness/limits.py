"""How near static INT8 on OpenVINO is to the machine's limits: python -m benchmarks.harness.limits KIND FOLDER THREADS

A call takes at least the time of its multiplications at the rate at which OpenVINO multiplies large INT8 matrices, and
at least the time to read its weights at the rate at which all threads read memory. Both rates are measured.
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
from dpr_export.models.telemetry import no_telemetry

PRODUCTS = ((1024, 768, 3072), (2048, 3072, 768), (2048, 768, 768), (4096, 768, 3072))  # rows, inner, columns
_CHAIN = 8  # products in one graph: its ends, which turn float32 into INT8, hardly count
_READ_BYTES = 1 << 29
_SECONDS = 1.5


def multiply_adds(config: DPRConfig, kind: str, batch: int, length: int) -> int:
    """The multiply-adds of one call: linear layers, heads, and the two products of attention.

    An encoder's last layer computes queries, attention and feed-forward for the [CLS] row alone.
    """
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


def operations_per_second(threads: int, int8: bool) -> float:
    """The best rate over several sizes of matrices; a multiply-add is two operations.

    A graph is a chain of products (rows, inner) x (inner, columns) and back, in float32, or quantized as INT8 variants
    are: static, symmetric, weights and activations.
    """
    with no_telemetry():
        import openvino as ov
        from openvino import opset13 as ops
        from openvino import properties

    options = {
        properties.hint.inference_precision(): ov.Type.f32,
        properties.num_streams(): 1,
        properties.inference_num_threads(): threads,
    }
    best, rng = 0.0, np.random.default_rng(0)
    for rows, inner, columns in PRODUCTS:
        parameter = product = ops.parameter([rows, inner], np.float32)
        for number in range(_CHAIN):
            shape = (inner, columns) if number % 2 == 0 else (columns, inner)
            weights = ops.constant(rng.integers(-127, 128, shape, np.int8))
            scaled = ops.multiply(ops.convert(weights, "f32"), np.float32(0.02))
            if int8:
                product = ops.fake_quantize(product, *map(np.float32, (-2.56, 2.54, -2.56, 2.54)), 256)
            product = ops.matmul(product, scaled, False, False)
        request = ov.compile_model(ov.Model([product], [parameter]), "CPU", options).create_infer_request()
        x = rng.normal(size=(rows, inner)).astype(np.float32)
        seconds = min(time_calls(partial(request.infer, [x], share_inputs=True)))
        best = max(best, 2.0 * _CHAIN * rows * inner * columns / seconds)
    return best


def bytes_per_second(threads: int) -> float:
    """How fast all threads together read an array far larger than the caches."""
    parts = np.array_split(np.ones(_READ_BYTES // 4, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        return _READ_BYTES / min(time_calls(lambda: list(pool.map(np.max, parts))))


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
    fp32 = operations_per_second(threads, int8=False)
    before = operations_per_second(threads, int8=True), bytes_per_second(threads)
    shapes: dict[str, Any] = {}
    for shape in SHAPES:
        shapes[shape_name(shape)] = {
            "ms": median(time_calls(prepare({"feeds": random_feeds(kind, shape)}))) * 1000,
            "operations": 2 * multiply_adds(config, kind, *shape),
        }
    after = operations_per_second(threads, int8=True), bytes_per_second(threads)
    int8, read = map(max, before, after)
    for found in shapes.values():
        found["least_ms_by_products"] = found["operations"] / int8 * 1000
        found["least_ms_by_memory"] = weight_bytes(config) / read * 1000
    rates = {"fp32_operations": fp32, "int8_operations": int8, "bytes": read}
    return {**{f"{name}_per_second": rate for name, rate in rates.items()}, "shapes": shapes}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
