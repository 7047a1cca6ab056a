"""A disk that becomes full while a corpus is encoded: one line, whole shards stay, and `--resume` goes on with them."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from dpr_export.runtime.corpus.encoding.encode import encode_corpus
from tests.corpus.conftest import SMALL, contents, passages, write_tsv
from tests.corpus.kills import command
from tests.hostile.test_full_disk import NO_SMALL_DISKS, UNSHARE

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(NO_SMALL_DISKS is not None, reason=f"no small disks: {NO_SMALL_DISKS}"),
]


@pytest.mark.parametrize("kilobytes", [8, 60, 90])
def test_a_job_on_a_full_disk_goes_on_when_there_is_room(tiny: dict[str, Path], tmp_path: Path, kilobytes: int) -> None:
    file = write_tsv(tmp_path / "many.tsv", passages(300))
    encode_corpus(tiny["context"], str(file), tmp_path / "whole", **{**SMALL, "shard_size": 8})
    disk = tmp_path / "disk"
    disk.mkdir()
    run = command(tiny["context"], file, disk / "out")
    steps = [
        f"mount -t tmpfs -o size={kilobytes}k tmpfs {disk}",
        f"{shlex.join(run)}; echo $? > {tmp_path / 'code'}",
        f"ls -A {disk / 'out'} > {tmp_path / 'left'}",
        f"mount -o remount,size=8m {disk}",
        f"{shlex.join([*run, '--resume'])} 2> {tmp_path / 'resumed'} || exit 3",
        f"cp -r {disk / 'out'} {tmp_path / 'copied'}",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*UNSHARE, "sh", "-c", "\n".join(steps)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + (tmp_path / "resumed").read_text()
    assert (tmp_path / "code").read_text() == "1\n"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("dpr-runtime: ")]
    assert "the disk is full" in line
    assert "Traceback" not in done.stderr
    left = (tmp_path / "left").read_text().split()
    assert not [name for name in left if name.startswith(".")]
    assert contents(tmp_path / "copied") == contents(tmp_path / "whole")
