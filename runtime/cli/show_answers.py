"""What `dpr-runtime` prints for people: ranked answers, each in its sentence."""

import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.questions import RetrievedPassage
from dpr_export.runtime.inference.answers import Answer

_SENTENCE_END = re.compile(r"[.!?。!?]['\"”’)\]]*\s+")


def show_answers(
    console: Console, question: str, answers: Sequence[Answer], passages: Sequence[Passage | RetrievedPassage]
) -> None:
    """Print ranked answers, each with its scores and marked in its sentence."""
    console.print(Text(printable(question), style="bold"))
    if not answers:
        console.print("\nno answer: the passages have no text")
    for rank, answer in enumerate(answers, start=1):
        heading = Text.assemble(
            f"\n{rank}  ",
            (printable(answer.text), "bold green"),
            (f"   relevance {answer.relevance_score:.2f}, span {answer.span_score:.2f}", "dim"),
        )
        console.print(heading)
        place = printable(answer.title) or f"passage {answer.passage + 1}"
        start, end = sentence_around(passages[answer.passage].text, answer.start, answer.end)
        sentence = _marked(place, passages[answer.passage].text, answer, start, end, console.is_terminal)
        for line in sentence.wrap(console, console.width - 3):
            console.print(Text("   ").append_text(line))
        if answer.truncated:
            console.print(Text("   (the passage was longer than the model reads, and its end was cut)", style="yellow"))


def _marked(place: str, text: str, answer: Answer, start: int, end: int, colour: bool) -> Text:
    """`place: ... answer ...`, the answer underlined on a terminal and in [brackets] elsewhere."""
    inside = (text[answer.start : answer.end], "underline green") if colour else f"[{answer.text}]"
    line = Text.assemble((f"{place}: ", "cyan"), text[start : answer.start], inside, text[answer.end : end].rstrip())
    return Text(printable(line.plain), spans=line.spans)


def plain(text: str) -> Text:
    """Text for a table's cell, in which brackets are brackets."""
    return Text(printable(text))


def printable(text: str) -> str:
    """Text with its line breaks as spaces, and control characters, which could move the cursor, as U+FFFD."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the sentence that holds a piece of text begins and ends.

    >>> text = "It rained. The play began at nine. All left."
    >>> text[slice(*sentence_around(text, text.index("nine"), text.index("nine") + 4))]
    'The play began at nine. '
    """
    begin, stop = 0, len(text)
    for found in _SENTENCE_END.finditer(text):
        if found.end() <= start:
            begin = found.end()
        elif found.start() >= end - 1:
            stop = found.end()
            break
    return begin, stop


def counted(number: int, what: str) -> str:
    """A number of things for people.

    >>> counted(1, "shard"), counted(1200, "passage")
    ('1 shard', '1,200 passages')
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def human_size(size: int) -> str:
    """A size for people.

    >>> human_size(90_500_000), human_size(711), human_size(45_200)
    ('90.5 MB', '711 B', '45.2 kB')
    """
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} B"
