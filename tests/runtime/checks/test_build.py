"""`dpr-runtime build` and `verify --device`: what they print, what is kept, and one line for every error.

With a GPU the libraries are recording doubles; without one TensorRT-RTX is the real one.
"""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from dpr_export.models.artifact.folder import hash_file
from dpr_export.models.artifact.manifest import MANIFEST_FILE
from dpr_export.runtime.checks import verify
from dpr_export.runtime.checks.build_engine import build_engine
from dpr_export.runtime.checks.parity import ParityError
from dpr_export.runtime.cli.app import main
from dpr_export.runtime.cli.show_build import BuildBars
from dpr_export.runtime.engines.nvidia import driver as nvidia
from dpr_export.runtime.engines.nvidia import tensorrt
from dpr_export.runtime.engines.nvidia.engine_files import engine_path, read_record, timings_path
from tests.doubles.cuda import CudaDouble
from tests.doubles.onnxruntime_cuda import OnnxRuntimeDouble
from tests.doubles.tensorrt import TensorRtDouble

COMMAND = Path(sys.executable).with_name("dpr-runtime")
FP16 = "onnx/model_fp16.onnx"

pytestmark = pytest.mark.usefixtures("cache_home")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function that runs dpr-runtime in this process, where the doubles are."""

    def run(*arguments: object) -> tuple[int, str, str]:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        monkeypatch.setattr(sys, "argv", ["dpr-runtime", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def copy(tiny_variants: dict[str, Path], tmp_path: Path) -> Path:
    """A question encoder's folder of the test's own."""
    shutil.copytree(tiny_variants["question"], tmp_path / "question-onnx")
    return tmp_path / "question-onnx"


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_an_engine_is_built_verified_and_kept(
    tiny_variants: dict[str, Path],
    command: Callable[..., tuple[int, str, str]],
    tensorrt_double: Callable[[str], TensorRtDouble],
    cuda_double: CudaDouble,
    name: str,
) -> None:
    double = tensorrt_double(name)
    model = {"tensorrt": "Double GPU"}.get(name)
    for kind in ("question", "reader"):
        code, out, err = command("build", tiny_variants[kind])
        path = engine_path(hash_file(tiny_variants[kind] / FP16).sha256, name, "8.9", model)
        assert (code, err) == (0, "")
        first, second, third = out.splitlines()
        assert first.startswith(f"{FP16} for Double GPU, {name} 1.2.3.4: built in ")
        assert first.endswith("lengths 32, 64, 128, 256, 512")
        assert second.startswith(
            "verified on this GPU against the reference outputs: least cosine with the PyTorch model 1.0000"
        )
        assert third == f"in {path}"
        record = read_record(path)
        assert record.verified is not None
        assert second.endswith(record.verified)
        assert (record.key.version, record.key.compute_capability, record.key.driver) == ("1.2.3.4", "8.9", "13.0")
        assert command("build", tiny_variants[kind])[1].startswith(
            f"{FP16} for Double GPU, {name} 1.2.3.4: existed already"
        )
    strongly_typed = 1 << double.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert double.networks == [strongly_typed] * 2
    assert all(config.flags == set() for config in double.configs)
    assert cuda_double.device == {}


def test_an_engine_that_does_not_match_is_built_again(
    copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    double = tensorrt_double("tensorrt")
    first = build_engine(copy)
    assert build_engine(copy).seconds is None
    double.__version__ = "2.0"
    second = build_engine(copy)
    assert second.seconds is not None
    assert second.path == first.path
    assert read_record(second.path).key.version == "2.0"
    assert build_engine(copy, lengths=[48]).record.key.buckets != second.record.key.buckets
    assert build_engine(copy, lengths=[48], force=True).seconds is not None
    first.path.write_bytes(b"nonsense")
    assert build_engine(copy, lengths=[48]).seconds is not None


def test_an_engine_that_is_damaged_is_built_again(copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]) -> None:
    tensorrt_double("tensorrt")
    path = build_engine(copy).path
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"?"):
        path.write_bytes(damaged)
        assert build_engine(copy).seconds is not None
        assert path.read_bytes() == whole


def test_an_engine_that_was_built_without_the_gpu_is_compared_there_and_not_built_again(
    copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    double = tensorrt_double("tensorrt_rtx")
    before = build_engine(copy, compute_capability="8.9")
    assert before.record.verified is None
    there = build_engine(copy)
    assert there.path == before.path
    assert there.record.verified == read_record(there.path).verified
    assert there.record.verified is not None
    assert double.calls.count(("build_serialized_network",)) == 1
    assert build_engine(copy, compute_capability="8.9").record.verified is not None
    assert double.calls.count(("build_serialized_network",)) == 1


def test_a_length_that_the_model_does_not_take_is_refused(
    copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    tensorrt_double("tensorrt")
    with pytest.raises(ValueError, match="length is 513, and the longest that the model takes is 512"):
        build_engine(copy, lengths=[32, 513])


def test_a_cache_folder_that_cannot_be_written_is_said_before_the_work(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    double = tensorrt_double("tensorrt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy / "config.json"))
    with pytest.raises(
        OSError, match=r"^engines are kept in .*tensorrt, which cannot be written .*: set XDG_CACHE_HOME$"
    ):
        build_engine(copy)
    assert double.calls == []


def test_measurements_are_kept_for_the_next_build(copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]) -> None:
    tensorrt_double("tensorrt")
    build_engine(copy)
    timings = timings_path("tensorrt", "8.9", "Double GPU")
    assert timings.read_bytes() == b"measured;"
    build_engine(copy, force=True)
    assert timings.read_bytes() == b"measured;measured;"
    double = tensorrt_double("tensorrt_rtx")
    build_engine(copy)
    assert double.configs[-1].timing_cache is None
    assert not timings_path("tensorrt_rtx", "8.9", None).exists()


def test_an_engine_that_computes_something_else_is_not_kept(
    copy: Path, tensorrt_double: Callable[[str], TensorRtDouble], cuda_double: CudaDouble
) -> None:
    """The library gives an engine of another graph, as a wrong kernel would."""
    double = tensorrt_double("tensorrt")
    wrong = copy.parent / "wrong.onnx"
    model = onnx.load(copy / FP16)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float16 and values.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(values[:, ::-1].copy(), tensor.name))
    onnx.save(model, wrong)
    real = double.Builder

    def lying(logger: object) -> object:
        builder = real(logger)
        serialize = builder.build_serialized_network
        builder.build_serialized_network = lambda *given: serialize(*given).replace(
            str(copy / FP16).encode(), str(wrong).encode()
        )
        return builder

    double.Builder = lying
    with pytest.raises(ParityError, match=rf"^the engine of {FP16} is not kept: least cosine .* at least 0.9700$"):
        build_engine(copy)
    assert not engine_path(hash_file(copy / FP16).sha256, "tensorrt", "8.9", "Double GPU").exists()
    assert (cuda_double.device, cuda_double.pinned, cuda_double.streams) == ({}, {}, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int4"], "precision is 'int4', and must be one of: auto, fp16, int8, fp32"),
        (["--device", "cpu"], "device is 'cpu', and engines are built for GPUs: cuda, cuda:0, cuda:1, ..."),
        (["--device", "cuda:one"], "device is 'cuda:one', and must be one of: cpu, cuda"),
        (["--compute-capability", "9.9"], "compute_capability is '9.9', and must be one of: 8.9, 12.0"),
    ],
)
def test_a_wrong_argument_is_one_line_with_its_bound(
    copy: Path,
    command: Callable[..., tuple[int, str, str]],
    tensorrt_double: Callable[[str], TensorRtDouble],
    arguments: list[str],
    message: str,
) -> None:
    tensorrt_double("tensorrt_rtx")
    code, out, err = command("build", copy, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"dpr-runtime: {message}")


def test_tensorrt_itself_builds_for_the_gpu_that_is_here_alone(
    copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    tensorrt_double("tensorrt")
    with pytest.raises(
        ValueError, match=r"tensorrt builds for the GPU that is here: pip install \"dpr-export\[tensorrt-rtx\]"
    ):
        build_engine(copy, compute_capability="8.9")


@pytest.mark.usefixtures("tensorrt_double")
def test_a_folder_without_the_variant_says_what_makes_it(
    tiny: dict[str, Path], tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    for precision in ("auto", "int8"):
        wanted = "fp16" if precision == "auto" else precision
        code, _, err = command("build", tiny["question"], "--precision", precision)
        assert (code, err) == (
            1,
            f"dpr-runtime: {tiny['question']} holds no {wanted} variant for tensorrt: "
            f"dpr-export {tiny['question']} --backend tensorrt --precision {wanted} makes it\n",
        )
    assert (
        command("build", tmp_path)[2]
        == f"dpr-runtime: {tmp_path} is not an exported folder: it has no {MANIFEST_FILE}\n"
    )


def test_a_graph_that_was_changed_is_never_built(copy: Path, tensorrt_double: Callable[[str], TensorRtDouble]) -> None:
    double = tensorrt_double("tensorrt")
    data = (copy / FP16).read_bytes()
    (copy / FP16).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"is damaged: onnx/model_fp16.onnx has SHA-256 .*; export it again"):
        build_engine(copy)
    assert double.networks == []


def test_a_build_that_fails_says_why_and_leaves_nothing(
    copy: Path, cache_home: Path, tensorrt_double: Callable[[str], TensorRtDouble]
) -> None:
    double = tensorrt_double("tensorrt")
    double.failing.append("no kernel was found")
    with pytest.raises(RuntimeError, match=rf"^tensorrt cannot build {copy}/{FP16}: no kernel was found$"):
        build_engine(copy)
    assert list(cache_home.rglob("*.engine")) == []


def test_without_a_gpu_every_command_says_so_in_one_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr(nvidia, "_gpus", lambda: ((), "no NVIDIA driver is installed (libcuda.so.1 was not found)"))
    for arguments in (("build", copy), ("verify", copy, "--device", "cuda")):
        code, out, err = command(*arguments)
        assert (code, out) == (1, "")
        assert err.endswith("cannot be used: no NVIDIA driver is installed (libcuda.so.1 was not found)\n")
        assert err.count("\n") == 1


def test_without_the_libraries_the_error_says_what_to_install(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "installed", lambda: None)
    with pytest.raises(ImportError, match=r"^tensorrt is not installed: pip install \"dpr-export\[tensorrt\]\"$"):
        build_engine(copy)

    def broken(_: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(tensorrt, "installed", lambda: tensorrt.LIBRARIES[0])
    monkeypatch.setattr(tensorrt, "import_module", broken)
    with pytest.raises(
        ImportError, match=r"^tensorrt cannot be loaded: libnvinfer.so.11: .*: pip install \"dpr-export\["
    ):
        build_engine(copy)


def test_verify_on_a_gpu_runs_what_is_made_for_one(
    copy: Path,
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tensorrt_double: Callable[[str], TensorRtDouble],
    onnxruntime_double: OnnxRuntimeDouble,
) -> None:
    tensorrt_double("tensorrt")
    monkeypatch.setattr(verify, "gpu_problem", lambda _: None)
    build_engine(copy, precision="fp16")
    code, out, _ = command("verify", copy, "--device", "cuda")
    lines = {line.split(": ")[0]: line for line in out.splitlines() if " on " in line}
    assert lines[f"ok      {FP16} on tensorrt"].endswith("tensorrt 1.2.3.4 on Double GPU")
    assert "CUDAExecutionProvider" in lines["ok      onnx/model_ort_fp16.onnx on onnxruntime"]
    assert "CUDAExecutionProvider" in lines["ok      onnx/model.onnx on onnxruntime"]
    assert "made for cpu: verify it there (--device cpu)" in lines["skipped onnx/model.onnx on openvino"]
    assert "made for cpu" in lines["skipped onnx/model_ort_int8.onnx on onnxruntime"]
    assert f"dpr-runtime build {copy} --precision int8" in lines["FAILED  onnx/model_trt_int8.onnx on tensorrt"]
    assert code == 1
    assert {options["device_id"] for _, options in onnxruntime_double.sessions} == {"0"}
    for precision in ("int8", "fp32"):
        build_engine(copy, precision=precision)
    assert command("verify", copy, "--device", "cuda")[0] == 0


def test_phases_are_bars_on_a_terminal_nested_as_they_are() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with BuildBars(console, lambda: False) as bars:
        bars.start("Building", None, 2)
        bars.start("Timing", "Building", 4)
        bars.step("Timing", 3)
        assert [(task.description, task.completed, task.total) for task in bars._bars.tasks] == [
            ("Building", 0, 2),
            ("  Timing", 3, 4),
        ]
        bars.finish("Timing")
        bars.finish("Building")
        assert bars._bars.tasks == []
        bars.step("what nobody began", 1)
        bars.finish("what nobody began")
    assert "Timing" in screen.getvalue()


@pytest.mark.ci
def test_elsewhere_than_on_a_terminal_nothing_is_drawn(tiny_variants: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    arguments = [COMMAND, "build", tiny_variants["question"], "--compute-capability", "8.9", "--precision", "int8"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith(
        "onnx/model_trt_int8.onnx for GPUs of compute capability 8.9, tensorrt_rtx "
    )
    assert done.stdout.splitlines()[1].startswith("not verified")
    path = Path(done.stdout.splitlines()[2].removeprefix("in "))
    assert path.is_relative_to(tmp_path / "cache")
    assert read_record(path).key.compute_capability == "8.9"


@pytest.mark.ci
@pytest.mark.parametrize(("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_that_is_interrupted_ends_as_a_good_citizen_and_leaves_nothing(
    demo: dict[str, Path], tmp_path: Path, asked: signal.Signals, code: int
) -> None:
    """On a terminal, where the bars say that it is under way. The demo's fp32 graph takes seconds to build."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is for Linux on x86-64 alone")
    folder = tmp_path / "reader-onnx"
    shutil.copytree(demo["reader"], folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    verified = next(variant for variant in manifest["variants"] if variant["file"] == "onnx/model.onnx")
    manifest["variants"].append({**verified, "backend": "tensorrt", "verified": False})
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    master, slave = pty.openpty()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [COMMAND, "build", folder, "--precision", "fp32", "--compute-capability", "8.9"], stdout=slave, stderr=slave
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(slave)
    seen = b""
    while b"Building" not in seen:
        seen += os.read(master, 4096)
    time.sleep(0.2)
    process.send_signal(asked)
    while True:
        try:
            seen += os.read(master, 4096) or b""
        except OSError:  # the terminal is closed
            break
    assert process.wait(60) == code
    assert b"Traceback" not in seen
    assert (b"dpr-runtime: interrupted" in seen) is (asked is signal.SIGINT)
    assert list((tmp_path / "cache").rglob("*.engine")) == []
