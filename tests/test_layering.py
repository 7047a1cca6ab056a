"""Who may import whom: a row for each layer. Imports are read from the source, not from what happens to run."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = {
    "models": {"numpy", "tokenizers", "dpr_export.models"},
    "runtime": {"numpy", "dpr_export.models", "dpr_export.runtime"},
    "quantization": {
        "numpy",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "onnxruntime",
        "nncf",
        "dpr_export.models",
        "dpr_export.runtime",
        "dpr_export.quantization",
    },
    "exporter": {
        "numpy",
        "torch",
        "transformers",
        "dpr_export.models",
        "dpr_export.quantization",
        "dpr_export.runtime",
        "dpr_export.exporter",
    },
}
# Files that may import more than their layer, and what.
EXCEPTIONS = {
    "models/hub.py": {"huggingface_hub"},
    "models/tensors.py": {"torch"},
    "runtime/cuda.py": {"cuda"},
    "runtime/onnxruntime.py": {"onnxruntime"},
    "runtime/onnxruntime_cuda.py": {"onnxruntime"},
    "runtime/openvino.py": {"openvino"},
    "runtime/cli.py": {"typer", "rich"},
    "runtime/commands.py": {"typer"},
    "runtime/corpus/bar.py": {"rich"},
    "runtime/corpus/cli.py": {"typer", "rich"},
    "runtime/corpus/encode_cli.py": {"typer", "rich"},
    "runtime/corpus/evaluate_cli.py": {"typer", "rich"},
    "runtime/corpus/on_ray.py": {"ray"},
    "runtime/corpus/show.py": {"rich"},
    "runtime/options.py": {"typer"},
    "runtime/progress.py": {"rich"},
    "runtime/show.py": {"rich"},
    "runtime/show_build.py": {"rich"},
    "runtime/show_manifest.py": {"rich"},
    "exporter/cli.py": {"typer", "rich"},
    "exporter/optimum.py": {"optimum"},
    "exporter/progress.py": {"rich"},
    "exporter/push.py": {"huggingface_hub"},
    "exporter/tensorflow.py": {"h5py", "safetensors"},
    "exporter/source.py": {"huggingface_hub"},
    "exporter/trace.py": {"onnx_ir"},
    "exporter/weights.py": {"onnx"},
}
DEMO = {"tokenizers", "safetensors", "peft", "typer", "rich"}


def imported(path: Path) -> set[str]:
    """What a file imports: top-level packages, and `dpr_export.LAYER` for our own."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
    return {".".join(name.split(".")[: 2 if name.startswith("dpr_export") else 1]) for name in names}


def files() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for layer in RULES for path in (ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("file", files())
def test_a_file_imports_only_what_its_layer_may(file: str) -> None:
    layer = file.split("/")[0]
    allowed = RULES[layer] | EXCEPTIONS.get(file, set()) | (DEMO if file.startswith("exporter/demo/") else set())
    foreign = {name for name in imported(ROOT / file) if name not in sys.stdlib_module_names}
    assert foreign <= allowed, f"{file} may not import {foreign - allowed}"


def test_every_exception_is_still_needed() -> None:
    for file, names in EXCEPTIONS.items():
        assert names <= imported(ROOT / file), f"{file} no longer imports {names}"


# What is only of one kind of processor or system may be named here, where tables say what is of which.
PLATFORM_FILES = {"runtime/processors.py"}
PLATFORM_WORDS = ("x86", "amd64", "aarch64", "arm64", "avx", "vnni", "neon")


def code_strings(path: Path) -> list[str]:
    """The names, attributes and strings of a file's code, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found.append(node.value)
        elif isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(node.attr)
    return found


@pytest.mark.parametrize("file", [file for file in files() if file not in PLATFORM_FILES])
def test_nothing_asks_for_a_kind_of_processor_outside_the_tables_that_say_so(file: str) -> None:
    for text in code_strings(ROOT / file):
        assert not any(word in text.lower() for word in PLATFORM_WORDS), f"{file}: {text}"
        assert text != "machine", f"{file} asks which processor it runs on"


def test_the_tables_of_processors_do_name_them() -> None:
    for file in PLATFORM_FILES:
        assert any(word in text.lower() for text in code_strings(ROOT / file) for word in PLATFORM_WORDS)
