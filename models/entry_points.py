"""The entry points of the two commands, which handle Ctrl-C from the first import on.

A command spends its first half second importing. The entry points are in this package because importing it costs
nothing, and they import the command by its name.
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
        if not _is_interrupt(error):
            raise
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    main()


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error; C libraries turn it into an ImportError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
