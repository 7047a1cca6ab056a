"""What an export raises when it cannot, or must not, be finished."""


class ExportError(RuntimeError):
    """The checkpoint cannot be exported, or its graph was not proved equal. The message is one line for people."""
