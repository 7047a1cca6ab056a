"""The names of devices: "cpu", "cuda", "cuda:1"."""

KINDS = ("cpu", "cuda")


class Device(str):
    """A device's name, with `type` and `index` as torch.device has them; torch takes it wherever it takes a name.

    >>> Device("cuda:1").type, Device("cuda:1").index, Device("cpu") == "cpu"
    ('cuda', 1, True)
    """

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # str.index is not needed
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
