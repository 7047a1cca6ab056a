"""Parse tables: tab-separated values with the quotes of the csv module, as facebookresearch/DPR reads them.

A quote at the start of a cell opens a text that may hold tabs, line breaks and doubled quotes. A quote that is never
closed, or only by one further down, would swallow rows without an error. So the lines of a row are found first, and a
row is malformed if a cell holds both a line break and a tab, or if the file ends within quotes.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from dpr_export.runtime.corpus.text_files import LONGEST_LINE, find_length_problem

_OPENING = re.compile(r'(?:\A|\t)"')
_CLOSING = re.compile(r'(?:[^"]+|"")*+"')
_LINE_BREAK = re.compile(r"[\r\n]")
_MEND = 'write a cell that begins with a quote within quotes, and its own quotes twice, as in """Yes"", he said."'


def parse_table(
    lines: Iterable[str],
    columns: Sequence[str],
    read_header: Callable[[list[str]], Sequence[str] | None] = lambda _: None,
) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield the number of each row's first line, and its cells or what is wrong with it.

    Args:
        lines: the lines, with their ends.
        columns: the names of the columns, if the first row is no header.
        read_header: returns the names of the columns if the cells of the first row are a header, else None.

    Empty lines are skipped.

    >>> list(parse_table(["7\\tA play.\\n"], ("id", "text")))
    [(1, {'id': '7', 'text': 'A play.'})]
    >>> list(parse_table(['1\\t"Hello there\\n', '2\\tsay "bye\\n', "3\\tgood\\n"], ("id", "text")))[1]
    (3, {'id': '3', 'text': 'good'})
    """
    is_first = True
    for number, row in _split_rows(lines):
        cells = row if isinstance(row, str) else _split_cells(row)
        if isinstance(cells, str):
            yield number, cells
            continue
        if not cells:
            continue
        header, is_first = read_header(cells) if is_first else None, False
        if header is not None:
            columns = header
        elif len(cells) != len(columns):
            yield number, f"the number of columns is {len(cells)}, not {len(columns)}: {', '.join(columns)}"
        else:
            yield number, dict(zip(columns, cells, strict=True))


def _split_rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each row's first line, and its lines or what is wrong with it.

    A row that is too long to be held is reported at once, and skipped to its end.
    """
    first, row, size, is_open = 1, list[str](), 0, False
    for number, line in enumerate(lines, start=1):
        if not is_open:
            first, row, size = number, [], 0
        is_reported, problem = size >= LONGEST_LINE, find_length_problem(line)
        size += len(line)
        is_open = not problem and _is_left_open(line, is_open)
        if size < LONGEST_LINE:
            row.append(line)
            if not is_open:
                yield first, row
        elif not is_reported:
            yield first, problem or f"a quote opens in it and is not closed for {LONGEST_LINE:,} characters: {_MEND}"
    if is_open and size < LONGEST_LINE:
        yield first, f"a quote opens in it and is never closed: {_MEND}"


def _is_left_open(line: str, is_open: bool) -> bool:
    """Return whether a line ends within quotes; `is_open`: whether it begins so."""
    place = 0
    while True:
        if not is_open:
            if not (found := _OPENING.search(line, place)):
                return False
            place = found.end()
        if not (found := _CLOSING.match(line, place)):
            return True
        place, is_open = found.end(), False


def _split_cells(lines: list[str]) -> list[str] | str:
    try:
        cells = next(csv.reader(["".join(lines)], delimiter="\t"))
    except csv.Error as error:
        return f"not a row of a table: {error}"
    if any("\t" in cell and _LINE_BREAK.search(cell) for cell in cells):
        return f"a quote opens in it and closes only {len(lines) - 1} lines further down: {_MEND}"
    return cells
