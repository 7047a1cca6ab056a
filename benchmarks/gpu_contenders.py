"""The contenders on a GPU: python -m benchmarks.gpu_contenders (a worker; see workers.py)

Every call begins with token ids in the machine's memory and ends with the result there, whoever runs it: that is what a
service does. Inputs are turned into what the engine takes before the clock starts.
"""

from typing import Any

import numpy as np

from benchmarks.contenders import Contender, Loaded
from benchmarks.workers import Call, Request, serve
from dpr_export.models.artifact.variants import VARIANTS
from dpr_export.models.kinds import KINDS

MODULE = "gpu_contenders"


def _torch(name: str, **options: Any) -> Contender:
    return Contender(f"transformers fp16 {name}", ("checkpoint",), {"how": "transformers", **options}, MODULE)


def _ours(backend: str, precision: str) -> Contender:
    options = {"how": "dpr_export", "backend": backend, "precision": precision}
    return Contender(f"dpr-export {backend} {precision}", ("checkpoint", "exported-gpu"), options, MODULE)


EAGER, SDPA = _torch("eager", attention="eager"), _torch("sdpa", attention="sdpa")
COMPILED = _torch("compiled", attention="sdpa", compiled=True)
OURS = tuple(_ours(spec.backend, spec.precision) for spec in VARIANTS if spec.devices == ("cuda",) and spec.lossy)
CONTENDERS = (EAGER, SDPA, COMPILED, *OURS)


def load_transformers(request: Request) -> Loaded:
    """As a user of PyTorch would run it: half precision, and for `compiled` max-autotune with CUDA graphs."""
    import torch
    import transformers

    device = request["device"]
    architecture = KINDS[request["kind"]].architecture
    model = getattr(transformers, architecture).from_pretrained(
        request["folder"], dtype=torch.float16, attn_implementation=request["attention"]
    )
    run: Any = model.eval().to(device)
    if request.get("compiled"):
        run = torch.compile(run, mode="max-autotune", dynamic=False)
    output = KINDS[request["kind"]].outputs[0]

    def prepare(job: Request) -> Call:
        feeds = {name: torch.tensor(rows) for name, rows in job["feeds"].items()}

        def call() -> Any:
            with torch.inference_mode():
                found = run(**{name: ids.to(device) for name, ids in feeds.items()})
                return getattr(found, output).float().cpu()

        return call

    return f"transformers {transformers.__version__}, torch {torch.__version__}", prepare


def load_dpr_export(request: Request) -> Loaded:
    """Through the calls that a user writes; a TensorRT engine is built first if need be."""
    from dpr_export import runtime

    if request["backend"] == "tensorrt":
        from dpr_export.runtime.checks.build_engine import build_engine

        build_engine(request["folder"], precision=request["precision"], device=request["device"])
    architecture = KINDS[request["kind"]].architecture
    options = {name: request[name] for name in ("backend", "precision", "device")}
    model = getattr(runtime, architecture).from_pretrained(request["folder"], **options)
    output = KINDS[request["kind"]].outputs[0]

    def prepare(job: Request) -> Call:
        feeds = {name: np.asarray(rows, np.int64) for name, rows in job["feeds"].items()}
        return lambda: getattr(model(**feeds), output)

    return model.explain().splitlines()[0].partition(" on ")[2], prepare


LOADERS = {"transformers": load_transformers, "dpr_export": load_dpr_export}

if __name__ == "__main__":
    serve(lambda request: LOADERS[request["how"]](request))
