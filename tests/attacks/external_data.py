"""A graph whose weights are said to lie in a file outside of its folder, for an engine to read into its outputs."""

import shutil
from pathlib import Path

import onnx
from onnx import TensorProto

from dpr_export.models.artifact.variants import MODEL_FILE
from tests.attacks.victim import refusal, sign

SECRET = "secret.bin"


def attack(exported: Path, work: Path) -> list[str]:
    """Point the first weight at a file beside the folder, at one by its whole path, and at a link; on each engine."""
    model = onnx.load(exported / MODEL_FILE)
    size = len(model.graph.initializer[0].raw_data)
    (work / SECRET).write_bytes(bytes(range(256)) * (size // 256 + 1))
    said = []
    for number, location in enumerate((f"../../{SECRET}", str(work / SECRET), "/etc/passwd", "link.bin")):
        folder = work / f"external-{number}"
        shutil.copytree(exported, folder)
        (folder / "onnx" / "link.bin").symlink_to(work / SECRET)
        (folder / MODEL_FILE).write_bytes(outside(model, location, size))
        sign(folder, MODEL_FILE)
        for backend in ("onnxruntime", "openvino"):
            line = refusal(
                "dpr-runtime", "answer", folder, "--backend", backend, "--precision", "fp32", "--question", "who",
                "--text", "hamlet",
            )  # fmt: skip
            assert "cannot load" in line, line
            said.append(line)
    said.append(refusal("dpr-export", folder, "--precision", "int8", "--allow-loss"))
    assert sorted(path.name for path in (folder / "onnx").iterdir()) == ["link.bin", "model.onnx"]
    return said


def outside(model: onnx.ModelProto, location: str, size: int) -> bytes:
    """The graph, with its first weight's data elsewhere."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weight = changed.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return changed.SerializeToString()
