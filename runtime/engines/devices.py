"""The names of devices: "cpu", "cuda", "cuda:1"."""

KINDS = ("cpu", "cuda")


class Device(str):
    """A device's name, which answers to `type` and `index` too, as torch's own does.

    >>> Device("cuda:1").type, Device("cuda:1").index, Device("cpu") == "cpu"
    ('cuda', 1, True)
    """

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # of a string nobody asks where a letter stands
        return int(number) if (number := self.partition(":")[2]) else None


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
