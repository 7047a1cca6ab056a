"""The strongest other encoder: sentence-transformers on OpenVINO, with its own static INT8.

    python -m benchmarks.harness.sentence_transformers_int8 make TEXTS SOURCE OUTPUT
    python -m benchmarks.harness.sentence_transformers_int8 serve

It pins versions that this project does not run on, so it has an environment of its own, and this file, which runs
there, imports nothing of dpr-export. The model is the same BERT, pooled by [CLS]. Everything is by default except for
the calibration texts, since its own come from the hub. OpenVINO's defaults are all processors, and bfloat16 for what is
not INT8, where the processor has it.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.harness.workers import Call, Loaded, Request, serve

PINS = (
    "sentence-transformers==6.2.0",
    "optimum-intel==2.2.0",
    "optimum==2.3.0",
    "transformers==5.5.4",
    "torch==2.13.0",
    "openvino==2026.4.1",
    "nncf==3.4.0",
    "datasets==5.0.1",
)
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # OpenVINO and NNCF would report through it
UNUSED = "torchvision"  # a dependency of optimum-intel; its wheels fit CUDA builds of torch and break CPU builds
_SUFFIX = "qint8_quantized"


def make_environment(folder: Path, log: Path) -> None:
    """Make the virtual environment of sentence-transformers.

    Raises:
        OSError: pip failed; the message is its last line.
    """
    temporary = folder.with_name(f"{folder.name}.making")
    venv.create(temporary, with_pip=True, clear=True)
    pip = [str(temporary / "bin" / "python"), "-m", "pip"]
    for arguments in (("install", "--quiet", *PINS), ("uninstall", "--quiet", "--yes", UNUSED)):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True)
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise OSError(f"its environment could not be made: {done.stderr.strip().splitlines()[-1]}")
    temporary.rename(folder)


def make(texts: Path, source: Path, output: Path) -> None:
    """Quantize the BERT in `source`/bert, calibrated with a folder of JSON lines with the field "text"."""
    from sentence_transformers import SentenceTransformer, export_static_quantized_openvino_model
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(source / "bert"))
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(str(output))
    model = SentenceTransformer(str(output), backend="openvino", device="cpu")
    model.save_pretrained(str(output))
    export_static_quantized_openvino_model(
        model, None, str(output), str(texts), "default", "train", "text", file_suffix=_SUFFIX
    )


def load(request: Request) -> Loaded:
    """Load the quantized model, for `serve`."""
    from importlib.metadata import version

    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(request["threads"])
    model = SentenceTransformer(
        request["folder"],
        backend="openvino",
        device="cpu",
        model_kwargs={"file_name": f"openvino_model_{_SUFFIX}.xml"},
    )

    def prepare(job: Request) -> Call:
        if "texts" in job:
            texts, batch = job["texts"], job["batch_size"]
            return lambda: model.encode(texts, batch_size=batch)
        features = {name: torch.tensor(values) for name, values in job["feeds"].items()}

        def call() -> Any:
            with torch.inference_mode():
                return model(dict(features))["sentence_embedding"]

        return call

    return f"sentence-transformers {version('sentence-transformers')}, openvino {version('openvino')}", prepare


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*map(Path, sys.argv[2:]))
    else:
        serve(load)
