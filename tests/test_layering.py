"""Who may import whom: one table of rooms. Imports are read from the source, those inside functions included."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("models", "runtime", "quantization", "exporter")
MOST_FILES = 15  # in a folder

# A room is a folder, or a file that stands apart from the others of its folder. A file belongs to the room with the
# longest name that is its own or a parent's. Besides its own room it may import the rooms named here, and no others.
ROOMS: dict[str, tuple[str, ...]] = {
    "models": (),
    "models.artifact": ("models",),
    "models.config": ("models.artifact",),
    "models.tokenization": ("models", "models.artifact"),
    "runtime.engines": ("models", "models.artifact"),
    "runtime.engines.nvidia": ("models", "models.artifact", "runtime.engines"),
    "runtime.inference": (
        "models",
        "models.artifact",
        "models.config",
        "models.tokenization",
        "runtime.engines",
        "runtime.engines.nvidia",
    ),
    "runtime": ("models", "models.config", "models.tokenization", "runtime.inference"),
    "runtime.checks": (
        "models",
        "models.artifact",
        "models.config",
        "runtime.engines",
        "runtime.engines.nvidia",
        "runtime.inference",
    ),
    "runtime.corpus": ("models.artifact",),
    "runtime.corpus.encoding": ("models", "models.artifact", "runtime.engines", "runtime.inference", "runtime.corpus"),
    "runtime.corpus.retrieval": ("models.artifact", "runtime.inference", "runtime.corpus", "runtime.corpus.encoding"),
    "runtime.corpus.evaluation": (
        "models",
        "models.artifact",
        "models.tokenization",
        "runtime.inference",
        "runtime.corpus",
        "runtime.corpus.retrieval",
    ),
    "runtime.corpus.__init__": (
        "runtime.corpus",
        "runtime.corpus.encoding",
        "runtime.corpus.retrieval",
        "runtime.corpus.evaluation",
    ),
    "runtime.cli": (
        "models",
        "models.artifact",
        "runtime.engines.nvidia",
        "runtime.inference",
        "runtime.checks",
        "runtime.corpus",
        "runtime.corpus.encoding",
        "runtime.corpus.retrieval",
        "runtime.corpus.evaluation",
    ),
    "quantization.errors": (),
    "quantization.save_graph": ("models.artifact",),
    "quantization.passes": ("models", "runtime.engines", "quantization.errors", "quantization.save_graph"),
    "quantization": (
        "models",
        "models.artifact",
        "models.config",
        "models.tokenization",
        "runtime.engines",
        "runtime.inference",
        "runtime.checks",
        "runtime.corpus",
        "runtime.corpus.evaluation",
        "quantization.errors",
        "quantization.passes",
    ),
    "exporter.errors": (),
    "exporter.options": ("models", "models.artifact", "models.config"),
    "exporter.demo": ("models",),
    "exporter.checkpoint": (
        "models",
        "models.artifact",
        "models.config",
        "models.tokenization",
        "exporter.errors",
        "exporter.options",
        "exporter.demo",
    ),
    "exporter.tracing": (
        "models",
        "models.artifact",
        "runtime.checks",
        "quantization.save_graph",
        "exporter.errors",
        "exporter.checkpoint",
    ),
    "exporter.hub": ("models", "models.artifact", "runtime.inference", "runtime.cli", "exporter.errors"),
    "exporter": (
        "models",
        "models.artifact",
        "models.config",
        "runtime.engines",
        "runtime.cli",
        "quantization",
        "exporter.errors",
        "exporter.options",
        "exporter.checkpoint",
        "exporter.tracing",
        "exporter.hub",
    ),
}

# Packages from elsewhere: of every file of a layer, and of single files.
PACKAGES = {
    "models": {"numpy", "tokenizers"},
    "runtime": {"numpy"},
    "quantization": {"numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "nncf"},
    "exporter": {"numpy", "torch", "transformers"},
}
MORE_PACKAGES = {
    "models/artifact/hub.py": {"huggingface_hub"},
    "models/torch_interop.py": {"torch"},
    "runtime/engines/nvidia/cuda.py": {"cuda"},
    "runtime/engines/onnxruntime.py": {"onnxruntime"},
    "runtime/engines/nvidia/onnxruntime_cuda.py": {"onnxruntime"},
    "runtime/engines/openvino.py": {"openvino"},
    "models/progress.py": {"rich"},
    "runtime/cli/app.py": {"typer", "rich"},
    "runtime/cli/corpus.py": {"typer", "rich"},
    "runtime/cli/encode.py": {"typer", "rich"},
    "runtime/cli/evaluate.py": {"typer", "rich"},
    "runtime/cli/options.py": {"typer"},
    "runtime/cli/run_command.py": {"typer"},
    "runtime/cli/show_answers.py": {"rich"},
    "runtime/cli/show_build.py": {"rich"},
    "runtime/cli/show_manifest.py": {"rich"},
    "exporter/cli.py": {"typer", "rich"},
    "exporter/optimum.py": {"optimum"},
    "exporter/progress.py": {"rich"},
    "exporter/hub/push.py": {"huggingface_hub"},
    "exporter/checkpoint/pytorch.py": {"safetensors"},
    "exporter/checkpoint/tensorflow.py": {"h5py", "safetensors"},
    "exporter/checkpoint/facebookresearch.py": {"tokenizers"},
    "exporter/checkpoint/source.py": {"huggingface_hub"},
    "exporter/tracing/trace.py": {"onnx_ir"},
    "exporter/tracing/weights.py": {"onnx_ir"},
    "exporter/demo/checkpoint.py": {"safetensors"},
}


def product_files(root: Path = ROOT) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for layer in LAYERS for path in (root / layer).rglob("*.py"))


def module_name(file: str) -> str:
    """`models/kinds.py` is "models.kinds", and a folder's own file "models.__init__"."""
    return file.removesuffix(".py").replace("/", ".")


def imported_names(source: str) -> Iterator[tuple[str, str | None]]:
    """Each import of a file anywhere in it: the module, and the name that is taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def own_imports(source: str, modules: set[str]) -> set[str]:
    """The product's modules that a file imports."""
    found = set()
    for module, name in imported_names(source):
        if not module.startswith("dpr_export."):
            continue
        own = module.removeprefix("dpr_export.")
        candidates = (f"{own}.{name}", own, f"{own}.__init__")
        found.add(next((candidate for candidate in candidates if candidate in modules), own))
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next(name for name in names if name in ROOMS)


def wrong_arrows(imports: dict[str, set[str]]) -> list[str]:
    return [
        f"{module} ({room_of(module)}) imports {other} ({room_of(other)})"
        for module, others in imports.items()
        for other in sorted(others)
        if room_of(other) not in (room_of(module), *ROOMS[room_of(module)])
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports; empty where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def all_imports(root: Path = ROOT) -> dict[str, set[str]]:
    modules = {module_name(file) for file in product_files(root)}
    sources = {module_name(file): (root / file).read_text(encoding="utf-8") for file in product_files(root)}
    return {module: own_imports(source, modules) for module, source in sources.items()}


def test_every_file_imports_only_from_the_rooms_that_its_own_may() -> None:
    assert wrong_arrows(all_imports()) == []


def test_no_imports_run_in_a_circle() -> None:
    assert circle(all_imports()) == []


def test_every_room_is_there_and_every_arrow_of_the_table_is_needed() -> None:
    imports = all_imports()
    assert {room_of(module) for module in imports} == ROOMS.keys()
    used = {(room_of(module), room_of(other)) for module, others in imports.items() for other in others}
    assert [
        f"{room} -> {other}" for room, others in ROOMS.items() for other in others if (room, other) not in used
    ] == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/artifact/manifest.py", "from dpr_export.models.tokenization.by_kind import TOKENIZER_CLASSES"),
        ("runtime/engines/session.py", "def later() -> None:\n    from dpr_export.runtime.inference import model"),
        ("quantization/passes/fp16.py", "import dpr_export.exporter.export"),
    ],
)
def test_a_planted_arrow_is_found(file: str, line: str) -> None:
    modules = {module_name(each) for each in product_files()}
    source = (ROOT / file).read_text(encoding="utf-8")
    planted = own_imports(f"{source}\n{line}\n", modules)
    assert len(wrong_arrows({module_name(file): planted})) == 1


def test_a_planted_circle_is_found_inside_a_function_too() -> None:
    imports = all_imports()
    source = (ROOT / "models/kinds.py").read_text(encoding="utf-8")
    line = "def later() -> None:\n    from dpr_export.models.artifact import manifest"
    imports["models.kinds"] = own_imports(f"{source}\n{line}\n", set(imports))
    assert set(circle(imports)) == {"models.kinds", "models.artifact.manifest"}


@pytest.mark.parametrize("file", product_files())
def test_a_file_imports_only_the_packages_that_its_layer_may(file: str) -> None:
    allowed = PACKAGES[file.split("/")[0]] | MORE_PACKAGES.get(file, set()) | {"dpr_export"}
    names = {module.split(".")[0] for module, _ in imported_names((ROOT / file).read_text(encoding="utf-8"))}
    foreign = {name for name in names if name not in sys.stdlib_module_names}
    assert foreign <= allowed, f"{file} may not import {foreign - allowed}"


def test_every_package_of_a_single_file_is_still_needed() -> None:
    for file, packages in MORE_PACKAGES.items():
        names = {module.split(".")[0] for module, _ in imported_names((ROOT / file).read_text(encoding="utf-8"))}
        assert packages <= names, f"{file} no longer imports {packages - names}"


def test_no_folder_has_more_files_than_a_person_can_look_over() -> None:
    others = (file for name in ("tests", "benchmarks", "scripts") for file in (ROOT / name).rglob("*.py"))
    folders = {file.parent for file in (*map(ROOT.joinpath, product_files()), *others)}
    crowded = {folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


# Names of processors may stand only in the tables that say which variant suits which.
PLATFORM_FILES = {"runtime/engines/processors.py", "models/artifact/variants.py"}
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


@pytest.mark.parametrize("file", [file for file in product_files() if file not in PLATFORM_FILES])
def test_no_code_depends_on_the_processor_outside_the_table(file: str) -> None:
    for text in code_strings(ROOT / file):
        assert not any(word in text.lower() for word in PLATFORM_WORDS), f"{file}: {text}"
        assert text != "machine", f"{file} asks which processor it runs on"


def test_the_table_of_processors_names_them() -> None:
    for file in PLATFORM_FILES:
        assert any(word in text.lower() for text in code_strings(ROOT / file) for word in PLATFORM_WORDS)
