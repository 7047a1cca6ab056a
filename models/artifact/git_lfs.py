"""Recognize git-lfs pointers: the small text files that a clone holds in place of files that were not downloaded."""

from pathlib import Path

_START = b"version https://git-lfs.github.com/spec/"
_LARGEST = 1024  # bytes, by its specification
POINTER = "is a git-lfs pointer in place of the file itself: run git lfs pull in its folder"


def is_pointer(path: Path) -> bool:
    """Return whether a file is a git-lfs pointer; False if there is no such file."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return False
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def check_no_pointer(path: Path) -> None:
    """Raise a ValueError if a file is a git-lfs pointer."""
    if is_pointer(path):
        raise ValueError(f"{path} {POINTER}")
