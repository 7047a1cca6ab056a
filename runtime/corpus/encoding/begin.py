"""Begin a job in a folder, or go on with it, beside whoever else works on it.

A job alone holds the folder for itself; the parts of a job share it, and each holds what is its own. What the folder is
of is written before its first shard, by whoever is first: shards of two jobs never lie in one folder. A job that ends
before its first shard leaves nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from dpr_export.models.artifact.atomic_writing import lock_folder, read_umask
from dpr_export.models.artifact.records import record_to_json
from dpr_export.runtime.corpus.encoding.job import CORPUS_FILE, MAY_DIFFER, Job, read_job, write_job
from dpr_export.runtime.corpus.encoding.shards import LEFT, shard_numbers

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
    created = False
    try:
        with lock_folder(folder, shared=part[1] > 1):
            _check_free(folder, may_hold_job=resume or part[1] > 1)
            with nullcontext() if part == (1, 1) else _part_held(folder, *part):
                created = _created(folder, job)
                _check_same(folder, read_job(folder), job)
                yield
    except BaseException:
        _withdraw(folder, new, created)
        raise


def _check_free(folder: Path, may_hold_job: bool) -> None:
    held = {path.name for path in folder.iterdir()}
    if held and not may_hold_job:
        raise FileExistsError(f"output {folder} is not empty: --resume goes on with it, or give another")
    if CORPUS_FILE not in held and any(not LEFT.match(name) for name in held):
        raise FileExistsError(f"output {folder} is not empty, and is no encoded corpus: give another")


@contextmanager
def _part_held(folder: Path, index: int, count: int) -> Iterator[None]:
    """Hold a part, unless other numbers of parts are worked on, which would write the same shards.

    Whoever holds a part looks at the others only then: of two that begin at once, one at least sees the other.
    """
    with _lock_held(folder, index, count):
        for other in folder.glob(".*-of-*.lock"):
            its_index, _, its_count = other.name[1:].removesuffix(".lock").partition("-of-")
            if its_index.isdecimal() and its_count.isdecimal() and int(its_count) != count:
                with _lock_held(folder, int(its_index), int(its_count)):
                    pass
        yield


@contextmanager
def _lock_held(folder: Path, index: int, count: int) -> Iterator[None]:
    """Hold the lock of a part, a file that is there for as long as it is held."""
    path = folder / f".{index}-of-{count}.lock"
    with ExitStack() as held:
        while True:
            path.touch()
            try:
                descriptor = held.enter_context(lock_folder(path))
                if descriptor is None or os.path.samestat(os.fstat(descriptor), path.stat()):
                    break
            except FileNotFoundError:  # its holder has ended meanwhile
                pass
            except BlockingIOError:
                raise BlockingIOError(
                    f"part {index}/{count} of {folder} is being written by another process: try again when that is done"
                ) from None
            held.close()
        held.callback(path.unlink, missing_ok=True)
        yield


def _created(folder: Path, job: Job) -> bool:
    """Write what a folder is of, whole, unless it says so already."""
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


def _withdraw(folder: Path, new: Sequence[Path], created: bool) -> None:
    """Leave nothing of a job that this process began and that has no shard, unless others work on it."""
    with suppress(OSError), lock_folder(folder):
        if created and not shard_numbers(folder):
            (folder / CORPUS_FILE).unlink(missing_ok=True)
        for each in new:
            each.rmdir()  # but for those that hold something


def _check_same(folder: Path, old: Any, new: Any, within: str = "") -> None:
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if field.name in MAY_DIFFER:
            continue
        if is_dataclass(before):
            _check_same(folder, before, now, f"the {field.name}'s ")
        elif before != now:
            mend = f"{_OPTIONS[field.name]} {_short(before)}" if field.name in _OPTIONS else "the same again"
            raise ValueError(
                f"output {folder} was begun with {within}{field.name.replace('_', ' ')} {_short(before)}, and this is "
                f"{_short(now)}: give {mend}, or another folder"
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
