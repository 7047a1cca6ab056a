"""The entry points of the two commands: they import nothing of weight before Ctrl-C is handled.

A command spends its first half second importing. They stand in this package because its own import costs nothing; what
they run they name, and do not import.
"""

import sys
from importlib import import_module

_INTERRUPTED = 130


def dpr_export() -> None:
    """The command `dpr-export`."""
    _run("dpr-export", "dpr_export.exporter.cli")


def dpr_runtime() -> None:
    """The command `dpr-runtime`."""
    _run("dpr-runtime", "dpr_export.runtime.cli.app")


def _run(name: str, module: str) -> None:
    try:
        main = import_module(module).main
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    main()


def _interrupted(error: BaseException | None) -> bool:
    """Whether it was Ctrl-C: libraries in C make an ImportError of that."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
