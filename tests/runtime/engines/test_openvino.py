"""The OpenVINO session computes what ONNX Runtime's does, from several threads, with and without its cache."""

import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from dpr_export.models.artifact.folder import hash_file
from dpr_export.models.artifact.variants import MODEL_FILE
from dpr_export.models.kinds import KINDS
from dpr_export.runtime import DPRQuestionEncoder
from dpr_export.runtime.engines import openvino
from dpr_export.runtime.engines.concurrency import overlapped
from dpr_export.runtime.engines.openvino import OpenVinoSession
from dpr_export.runtime.engines.processors import processor_kind
from dpr_export.runtime.engines.session import Feeds, Outputs, open_session

KEY = "a" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dpr-export" / "openvino"


def feeds(kind: str, rows: int = 3, length: int = 20, seed: int = 0) -> Feeds:
    ids = np.random.default_rng(seed).integers(0, 100, (rows, length))
    mask = np.ones_like(ids)
    mask[-1, length // 2 :] = 0
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: values[name] for name in KINDS[kind].inputs}


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_give_the_same(tiny: dict[str, Path], kind: str) -> None:
    graph = tiny[kind] / MODEL_FILE
    ours = open_session("openvino", graph, device="cpu", threads=1)
    theirs = open_session("onnxruntime", graph, device="cpu", threads=1)
    assert (ours.input_names, ours.output_names, ours.device) == (theirs.input_names, theirs.output_names, "cpu")
    for given in (feeds(kind), feeds(kind, 1, 1), feeds(kind, 2, 512)):
        found, expected = ours.run(given), theirs.run(given)
        for name in KINDS[kind].outputs:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_gives_the_numbers_that_the_graph_means(tiny_variants: dict[str, Path], kind: str) -> None:
    """As ONNX Runtime computes quantize, dequantize and multiply, one after the other.

    On a processor without VNNI, OpenVINO's own INT8 kernels have a cosine of 0.94 with that.
    """
    graph, given = tiny_variants[kind] / "onnx/model_int8.onnx", feeds(kind)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    expected = dict(zip(KINDS[kind].outputs, plain.run(list(KINDS[kind].outputs), given), strict=True))
    session = OpenVinoSession(graph, threads=1)
    least = 0.9 if processor_kind() == "x86 with VNNI" else 0.9999
    for name, values in session.run(given).items():
        found, meant = values.ravel(), expected[name].ravel()
        assert found @ meant / np.linalg.norm(found) / np.linalg.norm(meant) > least
    session.close()


def test_precision_is_what_was_asked_for(tiny: dict[str, Path]) -> None:
    graph, given = tiny["question"] / MODEL_FILE, feeds("question")
    exact = OpenVinoSession(graph, threads=1).run(given)["pooler_output"]
    try:
        rough = OpenVinoSession(graph, threads=1, precision="bf16").run(given)["pooler_output"]
    except RuntimeError as error:
        assert "this processor has no bfloat16" in str(error)  # noqa: PT017
        return
    assert 1e-4 < np.abs(exact - rough).max() < 0.2


def test_results_of_one_call_are_not_changed_by_the_next(tiny: dict[str, Path]) -> None:
    session = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1)
    first = session.run(feeds("question"))["pooler_output"]
    kept = first.copy()
    session.run(feeds("question", seed=1))
    assert np.array_equal(first, kept)


def test_threads_share_a_session(tiny: dict[str, Path]) -> None:
    session = OpenVinoSession(tiny["reader"] / MODEL_FILE, threads=1)
    calls = [feeds("reader", seed=seed) for seed in range(40)]
    alone = [session.run(call)["start_logits"] for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda call: session.run(call)["start_logits"], calls)
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_compiled_model_is_kept_in_the_users_cache(tiny: dict[str, Path], cache: Path) -> None:
    OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1).close()
    assert not cache.exists()
    OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1, cache=KEY).close()
    (kept,) = (cache / KEY[:32]).iterdir()
    before = kept.stat().st_mtime_ns
    OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1, cache=KEY).close()
    assert [path.stat().st_mtime_ns for path in (cache / KEY[:32]).iterdir()] == [before]


def test_of_a_full_cache_the_graphs_that_were_longest_unused_go(tiny: dict[str, Path], cache: Path) -> None:
    for age in range(1, 20):
        (cache / f"{age}").mkdir(parents=True)
        os.utime(cache / f"{age}", (1000 - age, 1000 - age))
    OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1, cache=KEY).close()
    assert {path.name for path in cache.iterdir()} == {KEY[:32], *(f"{age}" for age in range(1, 16))}


def test_many_calls_give_what_each_gives_alone_and_in_their_order(tiny: dict[str, Path]) -> None:
    session = OpenVinoSession(tiny["reader"] / MODEL_FILE, threads=os.cpu_count() or 1)
    for count in (0, 1, 2, 9, max(4, os.cpu_count() or 1)):
        calls = [feeds("reader", seed=seed) for seed in range(count)]
        found = list(session.run_all(iter(calls)))
        assert len(found) == count
        for call, outputs in zip(calls, found, strict=True):
            np.testing.assert_allclose(outputs["start_logits"], session.run(call)["start_logits"], atol=1e-6)
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        list(session.run_all([feeds("reader")] * 2))


@pytest.mark.parametrize(
    ("rows", "length", "cut"),
    [
        (1, 512, []),
        (16, 128, []),  # small
        (9, 512, []),  # one thread would have more
        (32, 128, [8, 8, 8, 8]),
        (10, 512, [2, 2, 2, 2, 1, 1]),
    ],
)
def test_a_large_call_is_cut_up_evenly_and_gives_what_each_row_gives_alone(
    tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch, rows: int, length: int, cut: list[int]
) -> None:
    session = OpenVinoSession(tiny["reader"] / MODEL_FILE, threads=2)
    given = feeds("reader", rows, length)
    parts = []

    def seen(run: Callable[[Feeds], Outputs], calls: Iterable[Feeds], workers: int) -> Iterator[Outputs]:
        parts.extend(calls)
        return overlapped(run, parts, workers)

    monkeypatch.setattr(openvino, "overlapped", seen)
    found = session.run(given)
    assert [len(part["input_ids"]) for part in parts] == cut
    for row in range(rows):
        alone = session.run({name: array[row : row + 1] for name, array in given.items()})
        for name in session.output_names:
            np.testing.assert_allclose(found[name][row], alone[name][0], atol=1e-5)


def test_a_call_that_is_running_when_the_session_is_closed_keeps_nothing(
    tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1)
    compiled_for, models = session._compiled_for, []

    def then_closed(streams: int) -> tuple:
        compiled = compiled_for(streams)
        models.append(weakref.ref(compiled[0]))
        session.close()
        return compiled

    monkeypatch.setattr(session, "_compiled_for", then_closed)
    assert session.run(feeds("question"))["pooler_output"].shape == (3, 32)
    gc.collect()
    assert [model() for model in models] == [None]


def test_a_second_model_is_compiled_for_many_calls_alone(
    tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, compiled = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=2), []
    compile_it = session._compile
    monkeypatch.setattr(
        session, "_compile", lambda core, streams: compiled.append(streams) or compile_it(core, streams)
    )
    assert len(list(session.run_all([feeds("question")] * 3))) == 3
    assert compiled == []
    assert len(list(session.run_all([feeds("question")] * 4))) == 4
    assert compiled == [2]


def test_small_calls_do_not_wait_while_the_model_is_compiled_for_many(tiny: dict[str, Path]) -> None:
    session = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=2)
    with ThreadPoolExecutor(1) as pool, session._opened.get().compiling:  # let go of first, so that a failure ends
        assert pool.submit(session.run, feeds("question")).result(timeout=60)["pooler_output"].shape == (3, 32)


def test_a_cache_that_cannot_be_made_is_done_without(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    session = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=1, cache=KEY)
    assert session.run(feeds("question"))["pooler_output"].shape == (3, 32)


def test_a_graph_that_took_the_place_of_another_is_compiled_again(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Also where its path, size and time are the other's, as in images and archives that give every file one time."""
    graph = tmp_path / "model.onnx"
    shutil.copyfile(tiny["question"] / MODEL_FILE, graph)
    os.utime(graph, (0, 0))
    first = OpenVinoSession(graph, threads=1, cache=hash_file(graph).sha256).run(feeds("question"))["pooler_output"]
    model = onnx.load(graph)
    table = next(tensor for tensor in model.graph.initializer if "word_embeddings" in tensor.name)
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * np.float32(0.5), table.name))
    onnx.save(model, graph)
    os.utime(graph, (0, 0))
    second = OpenVinoSession(graph, threads=1, cache=hash_file(graph).sha256).run(feeds("question"))["pooler_output"]
    assert np.abs(first - second).max() > 0.1
    assert np.array_equal(OpenVinoSession(graph, threads=1).run(feeds("question"))["pooler_output"], second)


def test_errors_are_one_line(tiny: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeError, match=r"OpenVINO cannot load .*broken\.onnx"):
        OpenVinoSession(tmp_path / "broken.onnx", threads=1)
    with pytest.raises(ValueError, match="device is 'cuda': the openvino backend runs on cpu"):
        open_session("openvino", tiny["question"] / MODEL_FILE, device="cuda", threads=1)
    session = OpenVinoSession(tiny["question"] / MODEL_FILE, threads=os.cpu_count() or 1)
    session.close()
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        session.run(feeds("question"))


def test_importing_the_engine_tells_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, threading, dpr_export.runtime.engines.openvino\n"
        "print('openvino_telemetry' in sys.modules, threading.active_count())\n"
        "import openvino_telemetry\n"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False 1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_batch_keeps_its_budget_after_it_is_padded(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, int]] = []
    with DPRQuestionEncoder.from_pretrained(tiny["question"], backend="openvino", threads=1) as model:
        session = model._session
        assert isinstance(session, OpenVinoSession)
        run = session._run

        def noted(feeds: Feeds, streams: int) -> Outputs:
            shapes.append(feeds["input_ids"].shape)
            return run(feeds, streams)

        monkeypatch.setattr(session, "_run", noted)
        model.encode(["who " * count for count in range(1, 30)], batch_tokens=128)
    assert {length % 8 for _, length in shapes} == {0}
    assert max(rows * length for rows, length in shapes) == 128


def test_the_first_calls_of_many_threads_do_not_wait_for_each_other() -> None:
    """The binding's table of types is made on first use, and two threads that made it at once never came back."""
    code = """
import sys, threading
import numpy as np
import dpr_export.runtime.engines.openvino as engine

sys.setswitchinterval(1e-7)  # threads take turns as often as they can
together, done = threading.Barrier(8), []

def ask():
    together.wait()
    done.append(engine.ov.Type.i64.to_dtype() == np.int64)

def busy():
    while len(done) < 8:
        sum(range(100))

for call in (busy, *[ask] * 8):
    threading.Thread(target=call).start()
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed on Linux alone")
def test_threads_are_not_pinned_to_processors_that_other_processes_use_too(tiny: dict[str, Path]) -> None:
    """Pinned, each of two processes with one thread took twice as long: both were on the first processor."""
    own = os.sched_getaffinity(0)
    if len(own) == 1:
        pytest.skip("there is one processor here")
    seen = set()
    with DPRQuestionEncoder.from_pretrained(tiny["question"], backend="openvino", threads=1) as model:
        work = threading.Thread(target=lambda: model.encode(["who wrote hamlet ?"] * 2000))
        work.start()
        while work.is_alive():  # OpenVINO lets go of a processor between calls
            for task in Path("/proc/self/task").iterdir():
                with suppress(OSError):  # a thread that has ended
                    seen.add(frozenset(os.sched_getaffinity(int(task.name))))
    assert seen == {frozenset(own)}
