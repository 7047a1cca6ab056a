"""Round sequence lengths up, for engines that make code for every shape they meet.

Texts have hundreds of lengths. An engine that compiles for each of them is slow whenever one is new, and its memory
grows with all it has seen. Padding to a multiple of a few tokens leaves it few shapes, and costs a few tokens. Results
stay what they were, since padding is masked; whoever wants outputs of tokens cuts them at the length that was given.
"""

import numpy as np

from dpr_export.runtime.engines.session import Feeds


def rounded(feeds: Feeds, multiple: int, most: int) -> Feeds:
    """Pad inputs at the end until their length is a multiple of `multiple`, or is `most`.

    Zeros are padded: token 0, type 0, not attended to. A call with a row that attends to nothing stays as it is: such
    a row attends to all alike, and padding would change it.

    Args:
        feeds: (batch, sequence) each, or (batch, sequence, hidden); `attention_mask` is one of them.
        multiple: what lengths are rounded up to a multiple of; 1 changes nothing.
        most: the longest that the model takes.

    >>> rounded({"input_ids": np.array([[5, 6]]), "attention_mask": np.array([[1, 1]])}, 4, 512)["input_ids"].tolist()
    [[5, 6, 0, 0]]
    """
    length = feeds["attention_mask"].shape[1]
    more = min(-(-length // multiple) * multiple, most) - length
    if more <= 0 or not feeds["attention_mask"].any(axis=1).all():
        return feeds
    return {name: np.pad(array, ((0, 0), (0, more), (0, 0))[: array.ndim]) for name, array in feeds.items()}
