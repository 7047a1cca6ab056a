"""Begin a job in a folder, or go on with it, beside whoever else works on it.

A job alone holds the folder for itself; the parts of a job share it, and each holds what is its own. What the folder is
of is written before its first shard, by whoever is first: shards of two jobs never lie in one folder. A job that ends
before its first shard leaves nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from dpr_export.models.records import written_record
from dpr_export.models.writing import locked, umask
from dpr_export.runtime.corpus.job import CORPUS_FILE, MAY_DIFFER, Job, read_job, write_job
from dpr_export.runtime.corpus.shards import shard_numbers


@contextmanager
def begun(folder: Path, job: Job, resume: bool, part: tuple[int, int]) -> Iterator[None]:
    """Begin a job in a folder, or go on with it, as the only writer of this part of it.

    Raises:
        FileExistsError: the folder is not empty, and `resume` is False.
        ValueError: it holds another job.
        BlockingIOError: another process writes this part, or the whole, or other parts than these.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"output {folder} is a file: give a folder")
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"output {folder} cannot be written: {error.strerror}") from None
    begins = False
    try:
        with locked(folder, shared=part[1] > 1):
            _check_free(folder, resume or part[1] > 1)
            with _part_held(folder, part):
                begins = True
                if not _created(folder, job):
                    _check_same(folder, read_job(folder), job)
                yield
    except BaseException:
        if begins:
            _withdraw(folder, new)
        raise


def _check_free(folder: Path, shared: bool) -> None:
    held = {path.name for path in folder.iterdir()}
    if held and not shared:
        raise FileExistsError(f"output {folder} is not empty: --resume goes on with it, or give another")
    if CORPUS_FILE not in held and any(not name.startswith(".") for name in held):
        raise FileExistsError(f"output {folder} is not empty, and is no encoded corpus: give another")


@contextmanager
def _part_held(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold this part; two numbers of parts would write the same shards."""
    index, count = part
    if count == 1:
        yield
        return
    for other in folder.glob(".*-of-*.lock"):
        if not other.name.endswith(f"-of-{count}.lock"):
            with locked(other):
                other.unlink()
    lock = folder / f".{index}-of-{count}.lock"
    lock.touch()
    with locked(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _created(folder: Path, job: Job) -> bool:
    """Write what a folder is of, whole, unless it says so already."""
    if (folder / CORPUS_FILE).exists():
        return False
    with NamedTemporaryFile(dir=folder, prefix=f".{CORPUS_FILE}.") as file:
        file.write(written_record(job).encode())
        file.flush()
        Path(file.name).chmod(0o666 & ~umask())
        try:
            os.link(file.name, folder / CORPUS_FILE)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            write_job(folder, job)
    return True


def _withdraw(folder: Path, new: Sequence[Path]) -> None:
    """Leave nothing of a job that has no shard, nor the folders that were made for it, unless others work on it."""
    with suppress(OSError), locked(folder):
        if not shard_numbers(folder):
            for path in (folder / CORPUS_FILE, *folder.glob("[0-9]*.*"), *folder.glob(".*-of-*.lock")):
                path.unlink(missing_ok=True)
            for each in new:
                each.rmdir()


def _check_same(folder: Path, old: Any, new: Any, within: str = "") -> None:
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if field.name in MAY_DIFFER:
            continue
        if is_dataclass(before):
            _check_same(folder, before, now, f"the {field.name}'s ")
        elif before != now:
            raise ValueError(
                f"output {folder} was begun with {within}{field.name.replace('_', ' ')} {_short(before)}, and this is "
                f"{_short(now)}: give another folder, or the same again"
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
