"""Exact match and F1, as SQuAD's official evaluation has them.

Texts are lower-cased, and lose ASCII punctuation, articles and extra spaces, in this order; the best over the right
answers counts.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(text: str) -> str:
    """What of a text is compared.

    >>> normalized("The  U.S. Navy")
    'us navy'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: str) -> float:
    """1.0 if both are the same once they are normalized."""
    return float(normalized(answer) == normalized(right))


def f1(answer: str, right: str) -> float:
    """The harmonic mean of precision and recall over words; nothing is right where nothing is the answer (SQuAD 2).

    >>> f1("the French capital", "French")
    0.6666666666666666
    """
    if not right:
        return exact_match(answer, right)
    ours, theirs = normalized(answer).split(), normalized(right).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def best(measure: Callable[[str, str], float], answer: str, right: Sequence[str]) -> float:
    """The largest of a measure over the right answers; 0 where there is none."""
    return max((measure(answer, each) for each in right), default=0.0)
