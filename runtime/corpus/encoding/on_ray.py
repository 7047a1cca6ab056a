"""Encode a corpus on a Ray cluster: the same blocks and batches as on one machine, computed by a pool of actors.

Ray Data streams the blocks: one task reads the file, on the machine of the command; each actor holds the model and
computes block after block; what comes back is written by the command. A block whose worker is lost is computed again,
by Ray, and has the same bytes. The exported folder, or its name on the hub, must be there on every machine.
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
from dpr_export.runtime.corpus.encoding.blocks import Block, encoded, windows_of
from dpr_export.runtime.corpus.encoding.job import job_of
from dpr_export.runtime.corpus.encoding.plan import STAGES, Encoded, Plan, Watch
from dpr_export.runtime.corpus.optional_libraries import needed
from dpr_export.runtime.corpus.passages import Passage, Progress
from dpr_export.runtime.inference.encoders import DPRContextEncoder

_SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "target_max_block_size": 1,  # bytes: else Ray Data puts blocks together, and gives all to one worker
}
_END = -1  # the number of the record that follows the last block


def encode_on_ray(plan: Plan, address: str, workers: int | None, how: dict[str, Any], watch: Watch) -> Encoded:
    """Do what is left of a job on Ray.

    Args:
        plan: the job.
        address: the cluster's; "local" starts one on this machine.
        workers: how many actors hold the model, at most; None: as many as there are processors for.
        how: the arguments of `from_pretrained`: `threads` is what each actor computes with.
        watch: as in `encode_corpus`.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        ValueError: no machine of the cluster has so many processors; or as `encode_corpus`.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own warnings are for those who work on Ray
    ray = needed("ray")
    needed("ray.data")
    start, busy = time.perf_counter(), dict.fromkeys(STAGES, 0.0)
    passages = shards = 0
    read = Progress()
    with _cluster(ray, address):
        count = min(workers or sys.maxsize, room(ray, how["threads"]))
        for record in _records(ray, plan, count, how):
            for stage, seconds in json.loads(record["busy"]).items():
                busy[stage] += seconds
            for line in json.loads(record["told"]):
                plan.tell(line)
            if record["error"]:
                raise ValueError(record["error"])
            read.passages, read.skipped = int(record["read"]), int(record["skipped"])
            if record["number"] == _END:
                end = read.passages, read.skipped
                continue
            block = _block(record)
            since = time.perf_counter()
            vectors = np.frombuffer(record["vectors"], np.float32).reshape(len(block.rows), -1)
            plan.write(block, vectors)
            busy["writing"] += time.perf_counter() - since
            passages, shards = passages + len(block.rows), shards + 1
            watch(len(block.rows), plan.estimated_total(read))
    read.passages, read.skipped = end
    plan.finish(read)
    return Encoded(passages, read.skipped, shards, len(plan.wanted.done), time.perf_counter() - start, busy)


def _records(ray: Any, plan: Plan, workers: int, how: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the actors give, in whatever order it comes.

    Raises:
        Exception: what an actor, or the reading, raised.
    """
    here = {
        f"node:{ray.util.get_node_ip_address()}": 0.001
    }  # every machine of a cluster has such a resource of its own
    data = ray.data.read_datasource(_source(plan), override_num_blocks=1, num_cpus=0, resources=here).map_batches(
        Worker,
        fn_constructor_args=(plan.job, how),
        batch_size=1,
        batch_format="numpy",
        zero_copy_batch=True,
        num_cpus=how["threads"],
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    try:
        yield from data.iter_rows()
    except ray.exceptions.RayError as error:
        raise _cause(error) from None


def _source(plan: Plan) -> Any:
    """The blocks as a source of Ray Data: one task that reads, and a row for each block."""
    pyarrow = needed("pyarrow")
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    told: list[str] = []
    quiet = replace(plan, tell=told.append)

    def read() -> Iterator[Any]:
        progress = Progress()
        for block, seconds, error in _timed(quiet.blocks(progress)):
            yield pyarrow.table(
                {
                    "number": [_END if block is None else block.number],
                    "rows": [json.dumps([] if block is None else block.rows)],
                    "read": [progress.passages],
                    "skipped": [progress.skipped if block is None else block.skipped],
                    "told": [json.dumps(told)],
                    "busy": [json.dumps({"reading": seconds})],
                    "error": [error],
                }
            )
            told.clear()

    class Blocks(Datasource):
        """The blocks that are to be computed."""

        def estimate_inmemory_data_size(self) -> None:
            """Not known before it is read."""

        def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
            """One task, since the blocks follow from each other."""
            return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

    source: Any = Blocks
    return source()


def _timed(blocks: Iterator[Block]) -> Iterator[tuple[Block | None, float, str]]:
    """Each block, the seconds that it took to come, and what went wrong; at the end no block."""
    block: Block | None = None
    while True:
        start, error = time.perf_counter(), ""
        try:
            block = next(blocks, None)
        except (ValueError, OSError) as problem:
            block, error = None, str(problem)
        yield block, time.perf_counter() - start, error
        if block is None:
            return


class Worker:
    """An actor: the model, and what is done with each block.

    Args:
        job: the job, which must be this machine's too.
        how: the arguments of `from_pretrained`.
    """

    def __init__(self, job: Any, how: dict[str, Any]) -> None:
        self._job = job
        self._model = DPRContextEncoder.from_pretrained(**how)
        cut = {name: getattr(job, name) for name in ("segments", "shard_size", "stored", "dtype", "on_error")}
        ours = job_of(self._model, "-", job.input.format, job.batch_tokens, **cut).encoder
        if replace(ours, name=job.encoder.name, engine=job.encoder.engine) != job.encoder:
            raise ValueError(f"a worker has another {ours.name} ({ours.backend} {ours.precision}) than this machine")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add a block's vectors, as bytes of float32 (rows, dim), to its record."""
        record = {name: values[0] for name, values in batch.items()}
        vectors, seconds = b"", json.loads(record["busy"])
        if record["number"] != _END:
            start = time.perf_counter()
            windows = windows_of(self._model, [_block(record)], self._job.segments)
            ((_, array),) = encoded(self._model, windows, self._job.batch_tokens)
            vectors, seconds["computing"] = array.tobytes(), time.perf_counter() - start
        record["busy"] = json.dumps(seconds)
        return {**{name: [value] for name, value in record.items()}, "vectors": [vectors]}


def _block(record: dict[str, Any]) -> Block:
    rows = [Passage(*each) for each in json.loads(record["rows"])]
    return Block(int(record["number"]), rows, int(record["skipped"]))


def room(ray: Any, threads: int) -> int:
    """How many actors of so many threads the cluster has processors for."""
    rooms = [int(node["Resources"].get("CPU", 0)) // threads for node in ray.nodes() if node["Alive"]]
    if not sum(rooms):
        raise ValueError(f"threads is {threads}, and no machine of the cluster has as many processors")
    return sum(rooms)


@contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start one; one that is connected to already is used, and left as it is."""
    with _quiet(ray):
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
def _quiet(ray: Any) -> Iterator[None]:
    """Set what Ray Data says and how it cuts, and set it back afterwards."""
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
    """Ask for a connection first: Ray tries for many minutes, and says so line after line.

    Raises:
        ConnectionError: nobody answers.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from None


def _cause(error: Exception) -> Exception:
    """What was raised on a worker, which Ray packs into errors of its own."""
    found: Any = error
    while True:
        inner = getattr(found, "cause", None) or found.__cause__
        if not isinstance(inner, Exception):
            return found if isinstance(found, Exception) else error
        found = inner
