"""Import the libraries of the extra `bulk` when they are used: the rest of the runtime works without them."""

from importlib import import_module
from typing import Any


def import_library(name: str) -> Any:
    """Import a library; the ImportError for a missing one says what to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{name} cannot be imported ({error}): pip install "dpr-export[bulk]"') from None
