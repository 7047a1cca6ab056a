"""What an export raises when it cannot, or must not, be finished."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cause_of(error: BaseException) -> str:
    """The first line of the error that began it all, without colours.

    >>> cause_of(ValueError("\\n\x1b[96mno such weight\x1b[0m\\nand more"))
    'no such weight'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


class ExportError(RuntimeError):
    """The checkpoint cannot be exported, or its graph was not proved equal. The message is one line for people."""
