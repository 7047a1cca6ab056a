"""Print, as JSON, what an exported folder gives on the processor that runs this: run under emulation, without pytest.

python tests/processors/measure.py FOLDER...
"""

import json
import os
import platform
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from dpr_export.models.artifact.folder import ExportedFolder
from dpr_export.runtime import DPRContextEncoder, DPRQuestionEncoder, DPRReader
from dpr_export.runtime.inference.verdicts import find_verdict

CLASSES = {"question": DPRQuestionEncoder, "context": DPRContextEncoder, "reader": DPRReader}


def measure(folder: Path, backend: str, precision: str) -> dict[str, object]:
    """The least cosine of a variant on the folder's sample, and how long its first and second load take."""
    opened = ExportedFolder.read(folder)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        model = CLASSES[opened.manifest.kind].from_pretrained(folder, backend=backend, precision=precision, threads=1)
        seconds.append(round(time.perf_counter() - start, 2))
        choice = model.choice
        model.close()
    verdict = find_verdict(opened, choice.variant, choice.precision, choice.device)
    return {
        "kind": opened.manifest.kind,
        "asked": f"{backend} {precision}",
        "ran": f"{choice.variant.backend} {choice.variant.precision}",
        "cosine": verdict.cosine,
        "passed": verdict.passed,
        "seconds": seconds,
        "architecture": platform.machine(),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for name in sys.argv[1:]:
            for backend, precision in (("auto", "auto"), ("openvino", "int8"), ("onnxruntime", "int8")):
                print(json.dumps(measure(Path(name), backend, precision)), flush=True)
