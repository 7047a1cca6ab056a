"""Libraries that only work on corpora needs, imported when they are used."""

from importlib import import_module
from typing import Any


def needed(name: str) -> Any:
    """Import a library of the extra `bulk`.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{name} cannot be imported ({error}): pip install "dpr-export[bulk]"') from None
