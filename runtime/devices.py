"""The names of devices: "cpu", "cuda", "cuda:1"."""

KINDS = ("cpu", "cuda")


def parse_device(device: object) -> tuple[str, int]:
    """The kind of a device and its number; "cuda" is the first GPU.

    Raises:
        ValueError: another name.

    >>> parse_device("cuda:1"), parse_device("cpu")
    (('cuda', 1), ('cpu', 0))
    """
    kind, colon, index = str(device).partition(":")
    if kind not in KINDS or (colon and not (kind == "cuda" and index.isascii() and index.isdigit())):
        raise ValueError(f"device is {device!r}, and must be one of: cpu, cuda, cuda:0, cuda:1, ...")
    return kind, int(index or 0)


def same_device(one: object, other: object) -> bool:
    """Whether two names are of one device.

    >>> same_device("cuda", "cuda:0"), same_device("cpu", "mps")
    (True, False)
    """
    try:
        return parse_device(one) == parse_device(other)
    except ValueError:
        return False
