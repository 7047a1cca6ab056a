"""A session's own thread: in order, closed once, and not lost with the main thread or taken into another process."""

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dpr_export.runtime.engines.worker_thread import WorkerThread


def test_calls_of_all_threads_are_made_by_one_and_give_each_its_own() -> None:
    thread, made_by = WorkerThread("own"), set()

    def work(number: int) -> int:
        made_by.add(threading.get_ident())
        return number * 2

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: thread.run(lambda: work(number)), range(50))) == list(range(0, 100, 2))
    assert len(made_by) == 1
    assert threading.get_ident() not in made_by
    thread.end()


def test_what_a_call_raises_is_raised_where_it_was_asked_for_and_the_thread_goes_on() -> None:
    thread = WorkerThread("own")
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0)
    assert thread.run(lambda: 3) == 3
    thread.end()
    thread.end()
    with pytest.raises(RuntimeError, match=r"^this session is closed$"):
        thread.run(lambda: 3)


def test_the_thread_ends_with_what_owns_it() -> None:
    thread = WorkerThread("own that is forgotten")
    running = thread._thread
    del thread
    gc.collect()
    running.join(10)
    assert not running.is_alive()


def test_another_process_is_told_so_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = WorkerThread("own")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="another process's: load the model after forking"):
            thread.run(lambda: 3)
        thread.end()
    assert thread.run(lambda: 3) == 3
    thread.end()


def test_it_works_on_after_the_main_thread_has_ended() -> None:
    program = """if True:
        import threading, time
        from dpr_export.runtime.engines.worker_thread import WorkerThread
        own = WorkerThread("own")
        def late():
            time.sleep(0.5)
            print(own.run(lambda: "still here"))
        threading.Thread(target=late).start()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("still here\n", "", 0)
