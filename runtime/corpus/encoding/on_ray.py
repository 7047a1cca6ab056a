"""Encode a corpus on a Ray cluster: the same blocks and batches as on one machine, computed by a pool of actors.

Ray Data streams the blocks: one task reads the file, on the machine of the command; each actor holds the model and
computes one block after another; the command writes the shards. If a worker is lost, Ray computes its block again, with
the same bytes. Every machine needs the exported folder, or access to the hub.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from dpr_export.models.quiet import quiet_logger
from dpr_export.runtime.corpus.encoding.blocks import Block, encode_windows, tokenize_blocks
from dpr_export.runtime.corpus.encoding.job import Job, describe_encoder
from dpr_export.runtime.corpus.encoding.job_part import STAGES, EncodingSummary, JobPart, Watch
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.corpus.passages import Passage, Progress
from dpr_export.runtime.corpus.timing import timed
from dpr_export.runtime.inference.encoders import DPRContextEncoder

_SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "target_max_block_size": 1,  # bytes: else Ray Data merges blocks, and gives all of them to one worker
}
_END = -1  # the number of the record that follows the last block


def encode_on_ray(
    part: JobPart, address: str, workers: int | None, how: dict[str, Any], watch: Watch
) -> EncodingSummary:
    """Compute the missing shards of a part of a job on Ray.

    Args:
        part: the part of the job.
        address: the cluster's address; "local" starts one on this machine.
        workers: the largest number of actors; None: as many as there are processors for.
        how: the arguments of `from_pretrained`: `threads` is what each actor computes with.
        watch: as in `encode_corpus`.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        ValueError: no machine of the cluster has that many processors; or as in `encode_corpus`.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are for Ray's developers
    ray = import_library("ray")
    import_library("ray.data")
    start, seconds, progress = time.perf_counter(), dict.fromkeys(STAGES, 0.0), Progress()
    passages = 0
    with _connect(ray, address):
        count = min(workers or sys.maxsize, count_worker_slots(ray, how["threads"]))
        for record in _stream_records(ray, part, count, how):
            for stage, each in json.loads(record["seconds"]).items():
                seconds[stage] += each
            for line in json.loads(record["messages"]):
                part.tell(line)
            if record["error"]:
                raise ValueError(record["error"])
            progress.passages, progress.skipped = int(record["passages_read"]), int(record["skipped"])
            if record["number"] == _END:
                end = replace(progress)
                continue
            block = _to_block(record)
            with timed(seconds, "writing"):
                part.write(block, np.frombuffer(record["vectors"], np.float32).reshape(len(block.passages), -1))
            passages += len(block.passages)
            watch(len(block.passages), part.estimate_total(progress))
    part.finish(end)
    total = time.perf_counter() - start
    return EncodingSummary(passages, end.skipped, len(part.written), len(part.existing), total, seconds)


def _stream_records(ray: Any, part: JobPart, workers: int, how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records that the actors return, in any order.

    Raises:
        Exception: the error of an actor, or of the task that reads.
    """
    # Every machine of a cluster has a resource of its own, by which the task that reads is kept here.
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    data = ray.data.read_datasource(_make_source(part), override_num_blocks=1, num_cpus=0, resources=here).map_batches(
        Worker,
        fn_constructor_args=(part.job, how),
        batch_size=1,
        batch_format="numpy",
        zero_copy_batch=True,
        num_cpus=how["threads"],
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    try:
        yield from data.iter_rows()
    except ray.exceptions.RayError as error:
        raise _find_cause(error) from None


def _make_source(part: JobPart) -> Any:
    """A source of Ray Data: one task that reads, and a record for each block."""
    pyarrow = import_library("pyarrow")
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    messages: list[str] = []
    remote_part = replace(part, tell=messages.append)

    def read() -> Iterator[Any]:
        progress = Progress()
        for block, seconds, error in _read_blocks(remote_part, progress):
            yield pyarrow.table(
                {
                    "number": [_END if block is None else block.number],
                    "passages": [json.dumps([] if block is None else block.passages)],
                    "passages_read": [progress.passages],
                    "skipped": [progress.skipped if block is None else block.skipped],
                    "messages": [json.dumps(messages)],
                    "seconds": [json.dumps(seconds)],
                    "error": [error],
                }
            )
            messages.clear()

    class Blocks(Datasource):
        """The blocks that are to be computed."""

        def estimate_inmemory_data_size(self) -> None:
            """Unknown before the blocks are read."""

        def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
            """One task: where a block begins depends on those before it."""
            return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

    source: Any = Blocks
    return source()


def _read_blocks(part: JobPart, progress: Progress) -> Iterator[tuple[Block | None, dict[str, float], str]]:
    """Yield each block, the seconds that it took to read, and the error that ended the reading; None is the end."""
    blocks = part.read_blocks(progress)
    block: Block | None = None
    while True:
        seconds, error = dict[str, float](), ""
        with timed(seconds, "reading"):
            try:
                block = next(blocks, None)
            except (ValueError, OSError) as problem:
                block, error = None, str(problem)
        yield block, seconds, error
        if block is None:
            return


class Worker:
    """An actor, which holds the model and encodes blocks.

    Args:
        job: the job; the model that this machine loads must be the job's.
        how: the arguments of `from_pretrained`.
    """

    def __init__(self, job: Job, how: dict[str, Any]) -> None:
        self._job = job
        self._model = DPRContextEncoder.from_pretrained(**how)
        ours = describe_encoder(self._model)
        if replace(ours, name=job.encoder.name, engine=job.encoder.engine) != job.encoder:
            raise ValueError(f"{ours.name} ({ours.backend} {ours.precision}) differs between a worker and this machine")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add a block's vectors, as bytes of float32 (passages, dim), to its record."""
        record = {name: values[0] for name, values in batch.items()}
        vectors, seconds = b"", json.loads(record["seconds"])
        if record["number"] != _END:
            with timed(seconds, "computing"):
                windows = tokenize_blocks(self._model, [_to_block(record)], self._job.segments)
                ((_, array),) = encode_windows(self._model, windows, self._job.batch_tokens)
                vectors = array.tobytes()
        record["seconds"] = json.dumps(seconds)
        return {**{name: [value] for name, value in record.items()}, "vectors": [vectors]}


def _to_block(record: dict[str, Any]) -> Block:
    passages = [Passage(*each) for each in json.loads(record["passages"])]
    return Block(int(record["number"]), passages, int(record["skipped"]))


def count_worker_slots(ray: Any, threads: int) -> int:
    """Count the actors of `threads` threads each that the cluster has processors for."""
    slots = [int(node["Resources"].get("CPU", 0)) // threads for node in ray.nodes() if node["Alive"]]
    if not sum(slots):
        raise ValueError(f"threads is {threads}, and no machine of the cluster has as many processors")
    return sum(slots)


@contextmanager
def _connect(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start one. A connection that exists already is used, and left open."""
    with _configure(ray):
        if ray.is_initialized():
            yield
            return
        _check_reachable(address)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from None
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _configure(ray: Any) -> Iterator[None]:
    """Set _SETTINGS of Ray Data and its logger for as long as the context lasts."""
    context = ray.data.DataContext.get_current()
    before = {name: getattr(context, name) for name in _SETTINGS}
    for name, value in _SETTINGS.items():
        setattr(context, name, value)
    try:
        with quiet_logger("ray.data", logging.ERROR):
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _check_reachable(address: str) -> None:
    """Open a connection to the address, because Ray itself tries for many minutes, with a line for each try.

    Raises:
        ConnectionError: no server answers.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from None


def _find_cause(error: Exception) -> Exception:
    """Find the error that was raised on a worker in the errors that Ray wraps it in."""
    found: Any = error
    while True:
        inner = getattr(found, "cause", None) or found.__cause__
        if not isinstance(inner, Exception):
            return found if isinstance(found, Exception) else error
        found = inner
