"""The strongest peer: sentence-transformers on OpenVINO, with the static INT8 that it makes itself.

    python -m benchmarks.peer_sentence_transformers make TEXTS FOLDER OUTPUT
    python -m benchmarks.peer_sentence_transformers serve

It pins versions that the project does not run on, so it lives in an environment of its own (`environment` makes it),
and this file, which runs there, imports nothing of dpr-export. The model is the same BERT with the same weights,
[CLS]-pooled. `export_static_quantized_openvino_model` quantizes it with its defaults; only the texts it calibrates on
are ours, since its own come from the hub. A compiled OpenVINO model keeps its defaults too: bfloat16 where the
processor has it, for what is not INT8, and all processors.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.workers import Call, Prepare, Request, serve

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
UNUSED = (
    "torchvision"  # optimum-intel asks for it; its wheels fit torch's CUDA builds, and break all else on CPU builds
)
_SUFFIX = "qint8_quantized"
_BATCH = 32  # what encode takes where nothing is said


def environment(folder: Path, log: Path) -> None:
    """Make the peer's virtual environment.

    Raises:
        OSError: pip failed; the message is its last line.
    """
    making = folder.with_name(f"{folder.name}.making")
    venv.create(making, with_pip=True, clear=True)
    pip = [str(making / "bin" / "python"), "-m", "pip"]
    for arguments in (("install", "--quiet", *PINS), ("uninstall", "--quiet", "--yes", UNUSED)):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True)
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise OSError(f"its environment could not be made: {done.stderr.strip().splitlines()[-1]}")
    making.rename(folder)


def make(texts: Path, folder: Path, output: Path) -> None:
    """Quantize the BERT in `folder`/bert with calibration texts: a folder of JSON lines with the field "text"."""
    from sentence_transformers import SentenceTransformer, export_static_quantized_openvino_model
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(folder / "bert"))
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(str(output))
    model = SentenceTransformer(str(output), backend="openvino", device="cpu")
    model.save_pretrained(str(output))
    export_static_quantized_openvino_model(
        model, None, str(output), str(texts), "default", "train", "text", file_suffix=_SUFFIX
    )


def load(request: Request) -> tuple[str, Prepare]:
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
            texts, batch = job["texts"], job.get("batch_size", _BATCH)
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
