"""A child that is forked from a program with an open model calls it, as a server with preloaded workers does."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from dpr_export.runtime.engines import forking
from dpr_export.runtime.engines.forking import PerProcess

PROGRAM = """
import os, signal, sys, threading, time
from dpr_export.runtime import DPRQuestionEncoder, DPRReader

question, reader, backend = sys.argv[1:]
encoder = DPRQuestionEncoder.from_pretrained(question, backend=backend, threads=2)
reader = DPRReader.from_pretrained(reader, backend=backend, threads=2)
texts, passages = ["who wrote hamlet ? " * 5] * 900, ["hamlet is a play by shakespeare " * 9] * 40

def both():
    vectors = encoder.encode(texts)
    return vectors.tobytes(), reader.answer("who ?", ["hamlet"] * 40, passages)[0].text

def in_child(call):
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends one that waits forever
        call()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def same():
    assert both() == expected

print("not called:", in_child(both))
expected = both()
print("after large calls:", in_child(same), in_child(encoder.close), in_child(lambda: None))
print("from a child:", in_child(lambda: (same(), sys.exit(in_child(same)))))
busy = threading.Thread(target=lambda: [encoder.encode(texts) for _ in range(4)])
busy.start()
print("during a call:", in_child(same))
busy.join()
print("the parent:", both() == expected)
"""
PRINTED = "not called: 0\nafter large calls: 0 0 0\nfrom a child: 0\nduring a call: 0\nthe parent: True\n"


@pytest.mark.parametrize("backend", ["openvino", pytest.param("onnxruntime", marks=pytest.mark.ci)])
def test_a_forked_child_computes_what_its_parent_does_and_exits(tiny: dict[str, Path], backend: str) -> None:
    no_advice = "ignore:This process:DeprecationWarning"  # what Python 3.12 says of any fork beside threads
    command = [sys.executable, "-W", no_advice, "-u", "-c", PROGRAM, tiny["question"], tiny["reader"], backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.stdout, done.stderr, done.returncode) == (PRINTED, "", 0)


class Value:
    """Something that can be referred to weakly."""


def test_a_child_makes_a_value_of_its_own_and_never_frees_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_inherited", weakref.WeakSet())
    holder = PerProcess(Value)
    parents = weakref.ref(holder.get())
    holder._lock.acquire()  # as another thread may have done when the process was forked
    forking._in_child()
    own = holder.get()
    assert holder.get() is own
    assert parents() is not own
    holder.close()
    gc.collect()
    assert parents() is not None
    with pytest.raises(RuntimeError, match=r"^this session is closed$"):
        holder.get()


def test_a_value_that_was_closed_stays_closed_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_inherited", weakref.WeakSet())
    holder = PerProcess(Value)
    holder.close()
    forking._in_child()
    with pytest.raises(RuntimeError, match=r"^this session is closed$"):
        holder.get()
