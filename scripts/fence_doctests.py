"""A griffe extension for the API reference: it puts the doctests of docstrings into code fences.

In Markdown `>>>` would be a quotation in a quotation.
"""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", flags=re.MULTILINE)


class FenceDoctests(griffe.Extension):
    """Rewrite docstrings while their objects are loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence each run of lines from `>>>` to the next empty line."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
