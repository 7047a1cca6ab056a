"""Measure how many times as fast one graph is as another, on this machine."""

import statistics
import time

from dpr_export.runtime.engines.session import Feeds, Session

ROUNDS = 9


def speedup(session: Session, baseline: Session, feeds: Feeds) -> float:
    """The median time of `baseline` over that of `session`, called in turns so that both meet the same noise."""
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for measured, each in zip(times, (session, baseline), strict=True):
            start = time.perf_counter()
            each.run(feeds)
            measured.append(time.perf_counter() - start)
    own, other = (statistics.median(measured[1:]) for measured in times)  # the first call of each warms it up
    return round(other / own, 2)
