"""Measure how many times as fast one graph is as another, on this machine."""

import statistics
import time

from dpr_export.runtime.engines.session import Feeds, Session

ROUNDS = 9


def speedup(session: Session, baseline: Session, feeds: Feeds, rounds: int = ROUNDS) -> float:
    """The median time of `baseline` over that of `session`, called in turns so that both meet the same noise."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(rounds + 1):
        for index, each in enumerate((session, baseline)):
            start = time.perf_counter()
            each.run(feeds)
            times[index].append(time.perf_counter() - start)
    own, other = (statistics.median(its[1:]) for its in times.values())  # the first call of each warms it up
    return round(other / own, 2)
