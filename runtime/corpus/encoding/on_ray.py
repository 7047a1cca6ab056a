"""Encode a corpus on a Ray cluster: the same blocks and batches as on one machine, computed by actors.

The command reads the file and writes the shards; each actor holds the model and computes one block after another. If a
worker is lost, Ray computes its block again, with the same bytes. Every machine needs the exported folder, or access to
the hub.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from dpr_export.models.telemetry import no_telemetry
from dpr_export.runtime.corpus.encoding.blocks import Block, EncodedBlocks, encode_windows, tokenize_blocks
from dpr_export.runtime.corpus.encoding.job import Job, describe_encoder
from dpr_export.runtime.corpus.optional_libraries import import_library
from dpr_export.runtime.inference.encoders import DPRContextEncoder, Vectors


def compute_on_ray(
    address: str,
    workers: int | None,
    how: dict[str, Any],
    job: Job,
    blocks: Iterator[Block],
    seconds: dict[str, float],
    watch: Callable[[int], None],
) -> EncodedBlocks:
    """Yield blocks with their vectors, in any order.

    `how` has the arguments of `from_pretrained`; each actor computes with its `threads`. The model that they load must
    be the job's. `seconds` gets the time that all actors computed, and `watch` the number of passages of each block.

    Raises:
        ConnectionError: there is no cluster at the address.
        ValueError: no machine of the cluster has that many processors, or a worker has another model.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are for Ray's developers
    with no_telemetry():
        ray = import_library("ray")
    with _connect(ray, address):
        count = min(workers or sys.maxsize, count_worker_slots(ray, how["threads"]))
        make = ray.remote(num_cpus=how["threads"], max_restarts=-1, max_task_retries=-1)(Worker).remote
        actors = [make(job, how) for _ in range(count)]
        try:
            # An actor gets blocks once it has loaded the model, and two, so that it need not wait for the second.
            calls: dict[Any, tuple[Any, Block | None]] = {each.load.remote(): (each, None) for each in 2 * actors}
            coming = next(blocks, None)
            while coming or any(block for _, block in calls.values()):
                (done,), _ = ray.wait(list(calls))
                actor, block = calls.pop(done)
                result = ray.get(done)
                if coming:
                    calls[actor.encode.remote(coming)] = actor, coming
                    coming = next(blocks, None)
                if block:
                    vectors, took = result
                    seconds["computing"] += took
                    watch(len(block.passages))
                    yield block, vectors
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        finally:
            for actor in actors:
                ray.kill(actor)


class Worker:
    """An actor, which holds the model and encodes blocks."""

    def __init__(self, job: Job, how: dict[str, Any]) -> None:
        self._job, self._how = job, how

    @cached_property
    def _model(self) -> DPRContextEncoder:
        model = DPRContextEncoder.from_pretrained(**self._how)
        ours, theirs = describe_encoder(model), self._job.encoder
        if replace(ours, name=theirs.name, engine=theirs.engine) != theirs:
            raise ValueError(f"{ours.name} ({ours.backend} {ours.precision}) differs between a worker and this machine")
        return model

    def load(self) -> None:
        """Load the model."""
        _ = self._model

    def encode(self, block: Block) -> tuple[Vectors, float]:
        """Compute a block's vectors, float32 (passages, dim); returns them with the seconds that it took."""
        start = time.perf_counter()
        windows = tokenize_blocks(self._model, [block], self._job.segments)
        ((_, vectors),) = encode_windows(self._model, windows, self._job.batch_tokens, lambda _: None)
        return vectors, time.perf_counter() - start


def count_worker_slots(ray: Any, threads: int) -> int:
    """Count the actors of `threads` threads each that the cluster has processors for."""
    slots = [int(node["Resources"].get("CPU", 0)) // threads for node in ray.nodes() if node["Alive"]]
    if not sum(slots):
        raise ValueError(f"threads is {threads}, and no machine of the cluster has as many processors")
    return sum(slots)


@contextmanager
def _connect(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start one. A connection that exists already is used, and left open."""
    if ray.is_initialized():
        yield
        return
    try:
        _check_reachable(address)
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Open a connection to the address, because Ray itself tries for many minutes, with a line for each try."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()
