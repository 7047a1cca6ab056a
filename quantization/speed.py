"""How much faster one graph is than another, on this machine, now."""

import statistics
import time

from dpr_export.runtime.engines.session import Feeds, Session

ROUNDS = 9


def speedup(session: Session, than: Session, feeds: Feeds, rounds: int = ROUNDS) -> float:
    """The median time of `than` over the median time of `session`, called in turn so that both meet the same noise."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(rounds + 1):
        for index, each in enumerate((session, than)):
            start = time.perf_counter()
            each.run(feeds)
            times[index].append(time.perf_counter() - start)
    own, other = (statistics.median(its[1:]) for its in times.values())  # the first call of each warms it up
    return round(other / own, 2)
