"""The runtime, and a whole answer, run without torch, transformers, onnx, typer and rich."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN = ("torch", "transformers", "onnx", "typer", "rich", "huggingface_hub")

ANSWER = """
import json, sys
from dpr_export.runtime import (
    DPRContextEncoder, DPRQuestionEncoder, DPRReader, DPRReaderTokenizer
)
folder, backend = sys.argv[1:]
tokenizer = DPRReaderTokenizer.from_pretrained(folder + "/reader")
with DPRReader.from_pretrained(folder + "/reader", backend=backend, verify=True) as reader:
    answers = reader.answer("who wrote hamlet ?", ["hamlet"], ["a play by shakespeare"])
    encoded = tokenizer("who ?", ["hamlet"], ["a play by shakespeare"], padding=True, return_tensors="np")
    spans = tokenizer.decode_best_spans(encoded, reader(**encoded))
DPRQuestionEncoder.from_pretrained(folder + "/question", backend=backend).encode(["who"])
DPRContextEncoder.from_pretrained(folder + "/context", backend=backend).encode(["a play"], ["hamlet"])
assert answers and spans
print(json.dumps(sorted(sys.modules)))
"""


def modules(code: str, *arguments: str) -> set[str]:
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(run.stdout)}


def test_importing_the_runtime_brings_no_engine_and_nothing_heavy() -> None:
    loaded = modules("import dpr_export.runtime, json, sys; print(json.dumps(sorted(sys.modules)))")
    assert "dpr_export" in loaded
    assert not loaded & {*FOREIGN, "onnxruntime", "openvino", "tensorrt"}


@pytest.mark.parametrize(
    ("backend", "brought", "left"), [("auto", "openvino", "onnxruntime"), ("onnxruntime", "onnxruntime", "openvino")]
)
def test_a_whole_answer_brings_one_engine_and_nothing_heavy(
    tiny: dict[str, Path], backend: str, brought: str, left: str
) -> None:
    loaded = modules(ANSWER, str(tiny["reader"].parent), backend)
    assert brought in loaded
    assert not loaded & {*FOREIGN, left}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", 'onnxruntime is not installed: pip install "dpr-export[cpu]"'),
        (", backend='onnxruntime'", 'onnxruntime is not installed: pip install "dpr-export[cpu]"'),
        (", backend='openvino'", 'openvino is not installed: pip install "dpr-export[openvino]"'),
    ],
)
def test_without_the_engine_one_line_says_what_to_install(tiny: dict[str, Path], options: str, message: str) -> None:
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "engines = ('onnxruntime', 'openvino')\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in engines else real(name, *rest)\n"
        "from dpr_export.runtime import DPRReader\n"
        f"try: DPRReader.from_pretrained(sys.argv[1]{options})\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tiny["reader"])], capture_output=True, text=True, check=True)
    assert run.stdout == message + "\n"
