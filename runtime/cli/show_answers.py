"""Print results for people: ranked answers, each in its sentence, and retrieved passages."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from dpr_export.runtime.corpus.passages import Passage
from dpr_export.runtime.corpus.retrieval.questions import Question, RetrievedPassage
from dpr_export.runtime.inference.answers import Answer

_SENTENCE_END = re.compile(r"[.!?。!?]['\"”’)\]]*\s+")


def show_answers(
    console: Console, question: str, answers: Sequence[Answer], passages: Sequence[Passage | RetrievedPassage]
) -> None:
    """Print ranked answers, each with its scores, and marked in its sentence."""
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
        source = printable(answer.title) or f"passage {answer.passage + 1}"
        start, end = sentence_around(passages[answer.passage].text, answer.start, answer.end)
        sentence = _mark(source, passages[answer.passage].text, answer, start, end, console.is_terminal)
        for line in sentence.wrap(console, console.width - 3):
            console.print(Text("   ").append_text(line))
        if answer.truncated:
            console.print("   (the end of this passage was cut: it is longer than the model's input)", style="yellow")


def show_retrieved(console: Console, questions: Iterable[Question]) -> None:
    """Print each question and its retrieved passages, with a line or two of each."""
    for question in questions:
        console.print(Text(printable(question.text), style="bold"))
        for rank, passage in enumerate(question.retrieved or (), start=1):
            heading = Text.assemble(f"{rank:>3}  ", (printable(passage.title or "no title"), "cyan"))
            console.print(heading.append(f"   {passage.score:.2f}   id {printable(passage.id)}", "dim"))
            text = Text(printable(passage.text))
            text.truncate(2 * (console.width - 6), overflow="ellipsis")
            for line in text.wrap(console, console.width - 6):
                console.print(Text("     ").append_text(line))
        console.print()


def _mark(source: str, text: str, answer: Answer, start: int, end: int, colour: bool) -> Text:
    """`source: ... answer ...`, with the answer underlined on a terminal and in [brackets] elsewhere."""
    inside = (text[answer.start : answer.end], "underline green") if colour else f"[{answer.text}]"
    line = Text.assemble((f"{source}: ", "cyan"), text[start : answer.start], inside, text[answer.end : end].rstrip())
    return Text(printable(line.plain), spans=line.spans)


def printable(text: str) -> str:
    """Text with spaces for line breaks, and U+FFFD for control characters, which could move the cursor."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The start and end of the sentence around a piece of text.

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


def answers_to_json(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Answers as values for JSON."""
    return [{**asdict(answer), "span": answer.span._asdict()} for answer in answers]


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def count_of(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count_of(1, "shard"), count_of(1200, "passage")
    ('1 shard', '1,200 passages')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def human_size(size: int) -> str:
    """A size in bytes with a unit.

    >>> human_size(90_500_000), human_size(711), human_size(45_200)
    ('90.5 MB', '711 B', '45.2 kB')
    """
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} B"
