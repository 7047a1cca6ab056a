"""Find ids that an earlier passage of a corpus has, in 8 bytes for each passage: 170 MB for 21 million.

The ids themselves would take ten times as much. Two of 21 million different ids have the same hash once in 80,000
corpora.
"""

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 16


class SeenIds:
    """The hashes of the ids so far: the latest in a set, the others in a sorted array."""

    def __init__(self) -> None:
        self._recent = set[int]()
        self._sorted: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, id: str) -> bool:
        """Add an id; return whether it is new.

        >>> seen = SeenIds()
        >>> [seen.add(id) for id in ("7", "8", "7")]
        [True, True, False]
        """
        key = hash(id)
        place = int(self._sorted.searchsorted(key))
        if key in self._recent or (place < len(self._sorted) and self._sorted[place] == key):
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            keys = np.sort(np.fromiter(self._recent, np.int64))
            self._sorted = np.insert(self._sorted, self._sorted.searchsorted(keys), keys)
            self._recent.clear()
        return True
