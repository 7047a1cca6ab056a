"""What the commands for corpora print for people: passages that were found."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from dpr_export.runtime.cli.show_answers import printable
from dpr_export.runtime.corpus.retrieval.questions import Question


def show_found(console: Console, questions: Iterable[Question]) -> None:
    """Print each question and the passages that were found for it, a line or two each."""
    for question in questions:
        console.print(Text(printable(question.text), style="bold"))
        for rank, found in enumerate(question.retrieved or (), start=1):
            heading = Text.assemble(f"{rank:>3}  ", (printable(found.title or "no title"), "cyan"))
            console.print(heading.append(f"   {found.score:.2f}   id {printable(found.id)}", "dim"))
            text = Text(printable(found.text))
            text.truncate(2 * (console.width - 6), overflow="ellipsis")
            for line in text.wrap(console, console.width - 6):
                console.print(Text("     ").append_text(line))
        console.print()
