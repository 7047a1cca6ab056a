"""Start or resume a job in a folder, and keep other processes from writing the same shards.

A process that does the whole job locks the folder for itself. Processes that do parts of it share that lock, and each
locks its own part. Whoever comes first writes the job's record, before any shard: shards of two jobs never lie in one
folder. A job that fails before its first shard leaves nothing behind.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from dpr_export.models.artifact.atomic_writing import lock_folder, read_umask
from dpr_export.models.artifact.records import record_to_json
from dpr_export.runtime.corpus.encoding.job import CORPUS_FILE, Job, fixed_fields, read_job, write_job
from dpr_export.runtime.corpus.encoding.shards import HALF_WRITTEN, shard_numbers

# The option that sets a field of the job.
_OPTIONS = {
    "backend": "--backend",
    "precision": "--precision",
    "batch_tokens": "a --device and --backend that take batches of",
    "shard_size": "--shard-size",
    "stored": "--store",
    "dtype": "--dtype",
    "segments": "--segments",
}


@contextmanager
def hold_job_folder(folder: Path, job: Job, resume: bool, part: tuple[int, int]) -> Iterator[None]:
    """Start or resume a job in a folder, as the only writer of this part of it for as long as the context lasts."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"output {folder} is a file: give a folder")
    new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"output {folder} cannot be written: {error.strerror}") from None
    has_created = False
    try:
        with lock_folder(folder, shared=part[1] > 1):
            _check_content(folder, may_hold_job=resume or part[1] > 1)
            with nullcontext() if part == (1, 1) else _hold_part(folder, *part):
                has_created = _create_record(folder, job)
                _check_same(folder, fixed_fields(read_job(folder)), fixed_fields(job))
                yield
    except BaseException:
        _clean_up(folder, new_folders, has_created)
        raise


def _check_content(folder: Path, may_hold_job: bool) -> None:
    names = {path.name for path in folder.iterdir()}
    if names and not may_hold_job:
        raise FileExistsError(f"output {folder} is not empty: resume it (--resume), or give another folder")
    if CORPUS_FILE not in names and any(not HALF_WRITTEN.match(name) for name in names):
        raise FileExistsError(f"output {folder} is not empty, and is not an encoded corpus: give another folder")


@contextmanager
def _hold_part(folder: Path, index: int, count: int) -> Iterator[None]:
    """Lock a part, unless a process works on parts of another count, which would write the same shards.

    The locks of the others are looked at while this one is held: of two processes that start at once, at least one
    sees the other.
    """
    with _lock_part(folder, index, count):
        for other in folder.glob(".*-of-*.lock"):
            other_index, _, other_count = other.name[1:].removesuffix(".lock").partition("-of-")
            if other_index.isdecimal() and other_count.isdecimal() and int(other_count) != count:
                with _lock_part(folder, int(other_index), int(other_count)):
                    pass
        yield


@contextmanager
def _lock_part(folder: Path, index: int, count: int) -> Iterator[None]:
    """Lock the file of a part, which exists only while it is locked."""
    path = folder / f".{index}-of-{count}.lock"
    with ExitStack() as locks:
        while True:
            path.touch()
            try:
                descriptor = locks.enter_context(lock_folder(path))
                # The last holder may have removed the file before it was locked here.
                if descriptor is None or os.path.samestat(os.fstat(descriptor), path.stat()):
                    break
            except FileNotFoundError:
                pass
            except BlockingIOError:
                raise BlockingIOError(
                    f"part {index}/{count} of {folder} is being written by another process: try again when it is done"
                ) from None
            locks.close()
        locks.callback(path.unlink, missing_ok=True)
        yield


def _create_record(folder: Path, job: Job) -> bool:
    """Write the job's record, unless the folder has one; returns whether it was written."""
    if (folder / CORPUS_FILE).exists():
        return False
    with NamedTemporaryFile(dir=folder, prefix=f".{CORPUS_FILE}.") as file:
        file.write(record_to_json(job).encode())
        file.flush()
        Path(file.name).chmod(0o666 & ~read_umask())
        try:
            os.link(file.name, folder / CORPUS_FILE)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            write_job(folder, job)
    return True


def _clean_up(folder: Path, new_folders: Sequence[Path], has_created: bool) -> None:
    """Remove what this process created, if the job has no shard and no other process works on it."""
    with suppress(OSError), lock_folder(folder):
        if has_created and not shard_numbers(folder):
            (folder / CORPUS_FILE).unlink(missing_ok=True)
        for each in new_folders:
            each.rmdir()  # fails, and ends the removal, at a folder that is not empty


def _check_same(folder: Path, old: dict[str, Any], new: dict[str, Any], within: str = "") -> None:
    """Check that the job of a folder is the one to do; the error names the first difference."""
    for name, before in old.items():
        if isinstance(before, dict):
            _check_same(folder, before, new[name], f"the {name}'s ")
        elif before != new[name]:
            mend = f"{_OPTIONS[name]} {_shorten(before)}" if name in _OPTIONS else "the same again"
            raise ValueError(
                f"output {folder} was started with {within}{name.replace('_', ' ')} {_shorten(before)}, and this "
                f"is {_shorten(new[name])}: give {mend}, or another folder"
            )


def _shorten(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text  # a SHA-256
