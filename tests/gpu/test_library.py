"""An engine, read back from the library that deserialized it: inputs, outputs, types and profiles are the table's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.nvidia.shape_buckets import buckets_for
from tests.gpu.conftest import longest


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_engine_is_what_the_table_says(
    tiny_variants: dict[str, Path], engine: Callable[[str], None], kind: str, precision: str
) -> None:
    engine("tensorrt")
    from dpr_export.runtime.checks.build_engine import build_engine
    from dpr_export.runtime.engines.nvidia.engine_files import read_engine
    from dpr_export.runtime.engines.nvidia.tensorrt import TensorRt

    built = build_engine(tiny_variants[kind], precision=precision)
    trt = TensorRt()
    _runtime, loaded = trt.load(read_engine(built.path, built.record))
    buckets = buckets_for(kind, longest(tiny_variants[kind]))
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    assert set(names) == {*KINDS[kind].inputs, *KINDS[kind].outputs}
    for name in names:
        wanted = trt.module.DataType.INT64 if name in KINDS[kind].inputs else trt.module.DataType.FLOAT
        assert loaded.get_tensor_dtype(name) == wanted
    assert loaded.num_optimization_profiles == len(buckets)
    for number, bucket in enumerate(buckets):
        for name in KINDS[kind].inputs:
            found = [tuple(shape) for shape in loaded.get_tensor_profile_shape(name, number)]
            assert found == [(rows, bucket.length) for rows in (1, bucket.usual, bucket.most)]
