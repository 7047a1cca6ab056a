"""Keep what engines compile in the user's cache folder, because an exported folder may be read-only."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

_KEPT = 16  # graphs: what is compiled of one is as large as it is


def cache_home() -> Path:
    """The project's folder in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache); it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "dpr-export")


def kept_folder(engine: str, key: str) -> Path | None:
    """Where a graph's compiled models are kept, made if need be; None where that cannot be written.

    Engines themselves tell graphs apart by path, size and time, which are the same for every version of a file in
    images and archives that give all files one time.
    """
    folder = cache_home() / engine / key[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError:
        return None
    forget_old(folder.parent, _KEPT)
    return folder if os.access(folder, os.W_OK) else None


def forget_kept(engine: str, key: str) -> None:
    """Remove what an engine compiled of a graph, which was damaged: it would outlive the repair of the file."""
    shutil.rmtree(cache_home() / engine / key[:32], ignore_errors=True)


def forget_old(folder: Path, kept: int) -> None:
    """Remove all but the `kept` newest entries of a folder of the cache."""
    with suppress(OSError):  # another process may tidy up at the same time
        for old in sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime)[:-kept]:
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
