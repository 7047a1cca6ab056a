"""The error of an export, and the text of errors that other libraries raise."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cause_of(error: BaseException) -> str:
    """The first line of the error at the end of the chain of causes, without colours.

    >>> cause_of(ValueError("\\n\x1b[96mno such weight\x1b[0m\\nand more"))
    'no such weight'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


class ExportError(RuntimeError):
    """The checkpoint cannot be exported, or a graph fails its check. The message is one line for people."""
