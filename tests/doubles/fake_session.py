"""A session without an engine: outputs come from a function. For tests of everything above the engines."""

from collections.abc import Callable, Iterable, Iterator

from dpr_export.runtime.engines.session import Feeds, Outputs


class FakeSession:
    """Answers every run with `compute(feeds)`, and keeps the feeds it was given in `calls`.

    >>> import numpy as np
    >>> session = FakeSession(lambda feeds: {"pooler_output": feeds["input_ids"][:, :1] * 1.0})
    >>> session.run({"input_ids": np.array([[101, 102]])})["pooler_output"].tolist()
    [[101.0]]
    """

    def __init__(
        self,
        compute: Callable[[Feeds], Outputs],
        input_names: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids"),
        output_names: tuple[str, ...] = ("pooler_output",),
    ) -> None:
        self.compute = compute
        self.input_names = input_names
        self.output_names = output_names
        self.device = "cpu"
        self.batch_tokens = 1024
        self.length_multiple = 1
        self.pads = False
        self.engine = "fake"
        self.calls: list[Feeds] = []
        self.closed = False

    def run(self, feeds: Feeds) -> Outputs:
        if self.closed:
            raise RuntimeError("this session is closed")
        self.calls.append(feeds)
        return self.compute(feeds)

    def run_all(self, calls: Iterable[Feeds]) -> Iterator[Outputs]:
        return map(self.run, calls)

    def close(self) -> None:
        self.closed = True
