"""Exact match and F1 of answers, as SQuAD's official evaluation computes them.

Texts are lower-cased and lose ASCII punctuation, articles and extra spaces, in this order. If a question has several
right answers, the one that gives the best score counts.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str) -> str:
    """Reduce a text to what is compared.

    >>> normalize("The  U.S. Navy")
    'us navy'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: str) -> float:
    """1.0 if both texts are the same once normalized, else 0.0."""
    return float(normalize(answer) == normalize(right))


def f1(answer: str, right: str) -> float:
    """The harmonic mean of precision and recall over words. If the right answer is empty (SQuAD 2): the exact match.

    >>> f1("the French capital", "French")
    0.6666666666666666
    """
    if not right:
        return exact_match(answer, right)
    ours, theirs = normalize(answer).split(), normalize(right).split()
    same = (Counter(ours) & Counter(theirs)).total()
    return 2 * same / (len(ours) + len(theirs)) if same else 0.0


def best_score(metric: Callable[[str, str], float], answer: str, right: Iterable[str]) -> float:
    """The best score of an answer over the right answers; 0 if there are none."""
    return max((metric(answer, each) for each in right), default=0.0)
