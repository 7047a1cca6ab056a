"""A job on real Ray workers gives the folder that one process gives, byte for byte, also when a worker is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from dpr_export.runtime.corpus.encoding import on_ray
from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from dpr_export.runtime.corpus.encoding.job import describe_job
from dpr_export.runtime.corpus.encoding.shards import shard_numbers
from dpr_export.runtime.inference.encoders import DPRContextEncoder
from tests.corpus.conftest import contents, passages, write_jsonl, write_tsv

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.ci,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.usefixtures("cluster"),
]
SMALL = {"shard_size": 16, "backend": "onnxruntime", "threads": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two processors on this machine, which the tests here share."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_a_job_on_ray_gives_the_same_bytes(tiny: dict[str, Path], corpus: Path, tmp_path: Path, workers: int) -> None:
    alone = encode_corpus(tiny["context"], str(corpus), tmp_path / "alone", **SMALL)
    there: list[int] = []
    done = encode_corpus(
        tiny["context"],
        str(corpus),
        tmp_path / "ray",
        ray="auto",
        workers=workers,
        watch=lambda passages, _: there.append(passages),
        **SMALL,
    )
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    assert (done.passages, done.shards, sum(there)) == (alone.passages, alone.shards, 100)
    assert done.stage_seconds["computing"] > 0
    assert ray.is_initialized()


def test_a_job_of_one_process_is_resumed_on_ray(tiny: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    encode_corpus(tiny["context"], str(corpus), tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out")
    for number in (0, 3, 6):
        (tmp_path / "out" / f"{number:06}.json").unlink()
    done = encode_corpus(tiny["context"], str(corpus), tmp_path / "out", resume=True, ray="auto", **SMALL)
    assert (done.shards, done.existing) == (3, 4)
    assert contents(tmp_path / "out") == before


def workers_alive() -> list[int]:
    """The processes of actors that hold the model."""
    named = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in named.splitlines() if "ray::Worker" in line]


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(tiny: dict[str, Path], tmp_path: Path) -> None:
    file = write_tsv(tmp_path / "many.tsv", passages(1500))
    encode_corpus(tiny["context"], str(file), tmp_path / "alone", **SMALL)
    killed: list[int] = []

    def kill() -> None:
        for _ in range(6000):
            if len(shard_numbers(tmp_path / "out")) >= 5:
                break
            time.sleep(0.01)
        victim = workers_alive()[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = Thread(target=kill)
    killer.start()
    encode_corpus(tiny["context"], str(file), tmp_path / "out", ray="auto", workers=2, **SMALL)
    killer.join()
    assert killed
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_malformed_rows_are_reported_as_in_one_process(tiny: dict[str, Path], tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", passages(40))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:20], "{}", *lines[20:], "[]"]) + "\n")
    said: dict[str, list[str]] = {"alone": [], "ray": []}
    for name, told in said.items():
        encode_corpus(
            tiny["context"],
            str(file),
            tmp_path / name,
            on_error="skip",
            ray="auto" if name == "ray" else None,
            tell=told.append,
            **SMALL,
        )
    assert said["ray"] == said["alone"]
    assert len(said["ray"]) == 3
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    with pytest.raises(ValueError, match=r'^[^\n]*a\.jsonl, line 21: "text" is missing[^\n]*$'):
        encode_corpus(tiny["context"], str(file), tmp_path / "stop", ray="auto", **SMALL)


def test_a_worker_with_another_tokenizer_or_graph_is_refused(tiny: dict[str, Path], corpus: Path) -> None:
    how = {"folder": tiny["context"], "backend": "onnxruntime", "threads": 1}
    cut = {"segments": "hf", "shard_size": 16, "stored": "npy", "dtype": "fp32", "on_error": "stop"}
    with DPRContextEncoder.from_pretrained(**how) as model:
        job = describe_job(model, str(corpus), "tsv", 100, **cut)
    on_ray.Worker(job, how).load()
    for changed in ({"tokenizer_sha256": "0" * 64}, {"graph_sha256": "0" * 64}, {"precision": "int8"}, {"dim": 7}):
        other = replace(job, encoder=replace(job.encoder, **changed))
        with pytest.raises(ValueError, match=r"context \(onnxruntime fp32\) differs between a worker and this machine"):
            on_ray.Worker(other, how).load()


def test_more_threads_than_a_machine_has_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = {"Alive": True, "Resources": {"CPU": 2.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, {"Alive": False, "Resources": {"CPU": 64.0}}])
    assert on_ray.count_worker_slots(ray, 1) == 2
    with pytest.raises(ValueError, match="threads is 3, and no machine of the cluster has as many processors"):
        on_ray.count_worker_slots(ray, 3)


def test_standard_input_is_not_read_on_ray(tiny: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"standard input can be read only once: .* for Ray, give a file"):
        encode_corpus(tiny["context"], "-", tmp_path / "out", format="tsv", ray="local", **SMALL)


def test_the_command_starts_a_cluster_and_says_no_more_than_it_does_alone(
    tiny: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    command = [Path(sys.executable).with_name("dpr-runtime"), "encode", tiny["context"], corpus, tmp_path / "out"]
    options = ["--ray", "local", "--workers", "1", "--threads", "1", "--shard-size", "16"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, *options], env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    _, first, second = [line for line in done.stderr.splitlines() if "logging.cc" not in line]  # of Ray itself
    assert first.startswith("100 passages to 7 shards in ")
    assert second.startswith("busy, of ")
    command[-1] = tmp_path / "none"
    done = subprocess.run([*command, "--ray", "127.0.0.1:1"], env=offline, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("dpr-runtime: there is no Ray cluster at '127.0.0.1:1': ")
