"""What only a GPU can show. Without one these tests are skipped, and the reason is printed.

The GPU's machine may lack some of the libraries: then the tests of those are skipped, with the reason too.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dpr_export.models.artifact.reference_outputs import Arrays
from dpr_export.models.artifact.variants import VariantSpec
from dpr_export.models.config import DPRConfig
from dpr_export.models.kinds import KINDS
from dpr_export.runtime.engines.nvidia.driver import gpu_problem
from dpr_export.runtime.engines.session import Feeds, open_session

# How far outputs may be, as a share of the largest: from PyTorch's in float32, and for INT8, which loses more than a
# test of random weights could bound, from what the same graph gives on the CPU, where it was judged.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.05}
SIZES = ((1, 1), (1, 16), (1, 32), (3, 33), (1, 128), (8, 128), (20, 256), (1, 512), (9, 500), (70, 300))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    problem = gpu_problem(0)
    for item in items:
        if problem and Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.skip(reason=f"there is no GPU here: {problem}"))


@pytest.fixture(scope="session")
def engine() -> Callable[[str], None]:
    """A function that skips the test unless a backend can run on the GPU here, with what is missing."""

    def needs(backend: str) -> None:
        if backend == "onnxruntime":
            from dpr_export.runtime.engines.nvidia.onnxruntime_cuda import cuda_problem

            if problem := cuda_problem(0):
                pytest.skip(problem)
            return
        if not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")):
            pytest.skip("neither tensorrt nor tensorrt_rtx is installed")
        if not find_spec("cuda.bindings"):
            pytest.skip("cuda-python is not installed")

    return needs


@pytest.fixture
def expected(tiny_variants: dict[str, Path], kind: str, spec: VariantSpec) -> Callable[[Feeds], Arrays]:
    """What a variant must give: as `TOLERANCE` says."""
    folder = tiny_variants[kind]
    if spec.precision == "int8":
        return open_session("onnxruntime", folder / spec.file, threads=1).run
    checkpoint = next(folder.parent.parent.glob(f"tiny*/{kind}-checkpoint"))
    model = getattr(transformers, KINDS[kind].architecture).from_pretrained(checkpoint, attn_implementation="eager")

    def compute(feeds: Feeds) -> Arrays:
        with torch.no_grad():
            found: Any = model.eval()(**{name: torch.from_numpy(ids) for name, ids in feeds.items()})
        return {name: getattr(found, name).numpy() for name in KINDS[kind].outputs}

    return compute


def longest(folder: Path) -> int:
    return DPRConfig.from_pretrained(folder).max_position_embeddings
