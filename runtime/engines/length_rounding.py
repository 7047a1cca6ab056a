"""Round sequence lengths up, for engines that compile kernels for every new shape.

Texts have hundreds of lengths; padding to a multiple of a few tokens leaves few. Padding is masked, so outputs stay the
same; outputs of tokens must be cut to the original length.
"""

import numpy as np

from dpr_export.runtime.engines.session import Feeds


def rounded(feeds: Feeds, multiple: int, most: int) -> Feeds:
    """Pad inputs at the end until their length is a multiple of `multiple`, or is `most`.

    The padding is zeros: token 0, type 0, not attended to. A call with a fully masked row is returned as it is: such a
    row attends to all tokens alike, so padding would change its outputs.

    Args:
        feeds: (batch, sequence) each, or (batch, sequence, hidden); `attention_mask` is one of them.
        multiple: 1 changes nothing.
        most: the longest sequence that the model takes.

    >>> rounded({"input_ids": np.array([[5, 6]]), "attention_mask": np.array([[1, 1]])}, 4, 512)["input_ids"].tolist()
    [[5, 6, 0, 0]]
    """
    length = feeds["attention_mask"].shape[1]
    more = min(-(-length // multiple) * multiple, most) - length
    if more <= 0 or not feeds["attention_mask"].any(axis=1).all():
        return feeds
    return {name: np.pad(array, ((0, 0), (0, more), (0, 0))[: array.ndim]) for name, array in feeds.items()}
