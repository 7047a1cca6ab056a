"""Tables that people have: each gives the rows that it means, or names the first line of the row that it does not."""

import csv
import gzip
import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.runtime.corpus import text_files
from dpr_export.runtime.corpus.passages import Passage, Progress, read_corpus
from dpr_export.runtime.corpus.retrieval.questions import read_questions
from dpr_export.runtime.corpus.table import parse_table

LONG = "x" * 140_000
FURTHER, NEVER, LARGER = "closes only", "is never closed", "field larger than field limit"

# A table; the line and the words of its malformed rows; and the ids, texts and titles of the others.
TABLES = {
    "a quote that the next row closes": ('1\t"Hello there\tT1\n2\tsay "bye\tT2\n3\tgood\tT3\n', {1: FURTHER}, ["3 good T3"]),
    "a quote that a later row closes": ('1\t"Hello\tT1\n2\ta\tT2\n3\tsay "bye\tT3\n4\tgood\tT4\n', {1: FURTHER}, ["4 good T4"]),
    "a last title that opens a quote": ('1\ta\tT1\n2\tb\t"Weird Al\n', {2: NEVER}, ["1 a T1"]),
    "a last title that opens one, without a line break": ('1\ta\tT1\n2\tb\t"Weird Al', {2: NEVER}, ["1 a T1"]),
    "a first title that opens a quote": ('1\ta\t"Weird Al\n2\tb\tT2\n3\tc\tT3\n', {1: NEVER}, []),
    "a first text that opens a quote": ('1\t"a\tT1\n2\tb\tT2\n', {1: NEVER}, []),
    "an id that opens a quote": ('1\ta\tT\n"2\tb\tT\n3\tc\tT\n', {2: NEVER}, ["1 a T"]),
    "two rows with a quote each": ('1\t"a\tT1\n2\tb" c\tT2\n3\tc\tT3\n', {1: FURTHER}, ["3 c T3"]),
    "a title that opens a quote which the next id closes": ('1\ta\t"Weird Al\n2"\tb\tT2\n3\tc\tT3\n', {1: "columns is 5"}, ["3 c T3"]),
    "a field that is too long": (f'1\t"{LONG}"\tT1\n2\tb\tT2\n', {1: LARGER}, ["2 b T2"]),
    "a field that is too long, of many lines": (f'1\t"{LONG}\n9\tinner\tT9\n{LONG}"\tT1\n2\tb\tT2\n', {1: LARGER}, ["2 b T2"]),
    "a field that is too long, without quotes": (f"1\t{LONG}\tT1\n2\tb\tT2\n", {1: LARGER}, ["2 b T2"]),
    "a field that is too long, and a quote after it": (f'1\t"{LONG}\nx"\t"T\n2\tb\tT2"\n3\tc\tT3\n', {1: LARGER}, ["3 c T3"]),
    "a line break within quotes": ('1\t"a\nb"\tT1\n2\tc\tT2\n', {}, ["1 a\nb T1", "2 c T2"]),
    "an empty line within quotes": ('1\t"a\n\nb"\tT1\n2\tc\tT2\n', {}, ["1 a\n\nb T1", "2 c T2"]),
    "a tab within quotes": ('1\t"a\tb"\tT1\n', {}, ["1 a\tb T1"]),
    "a tab and a line break within quotes": ('1\t"a\tb\nc"\tT1\n2\tc\tT2\n', {1: FURTHER}, ["2 c T2"]),
    "doubled quotes": ('1\t"""Yes"", he said."\t"""Weird Al"""\n', {}, ['1 Yes"", he said. "Weird Al"'.replace('""', '"')]),
    "quotes inside a cell": ('1\tHe said "yes" to "it\t5" disk\n', {}, ['1 He said "yes" to "it 5" disk']),
    "quotes around a part of a cell": ('1\t"Yes" he said\t"Weird Al" Yankovic\n', {}, ["1 Yes he said Weird Al Yankovic"]),
    "empty quotes": ('1\ta\t""\n2\tb\tT2\n', {}, ["1 a ", "2 b T2"]),
    "three quotes that open and do not close": ('1\t"""a\tT1\n2\tb\tT2\n', {1: NEVER}, []),
    "line ends of Windows": ('1\t"a\r\nb"\tT1\r\n2\tc\tT2\r\n', {}, ["1 a\r\nb T1", "2 c T2"]),
    "line ends of old Macs": ("1\ta\tT1\r2\tc\tT2\r", {}, ["1 a T1", "2 c T2"]),
    "a wrong number of columns after a row of two lines": ('1\t"a\nb"\tT1\n2\tc\n3\td\tT3\n', {3: "columns is 2"}, ["1 a\nb T1", "3 d T3"]),
    "a header, and a quote in the first row": ('id\ttext\ttitle\n1\t"a\tT1\n2\tb\tT2\n', {2: NEVER}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_row_whose_quotes_do_not_fit_is_reported_by_its_first_line(tmp_path: Path, name: str) -> None:
    table, problems, good = TABLES[name]
    (tmp_path / "a.tsv").write_text(table, newline="")
    told: list[str] = []
    rows = list(read_corpus(tmp_path / "a.tsv", on_error="skip", tell=told.append, progress=(progress := Progress())))
    assert [f"{row.id} {row.text} {row.title or ''}" for row in rows] == good
    assert [line.partition(": ")[2].partition(": ")[0] for line in told] == [
        f"{tmp_path}/a.tsv, line {n}" for n in problems
    ]
    assert all(words in line for words, line in zip(problems.values(), told, strict=True))
    assert progress.skipped == len(problems)
    if problems:
        with pytest.raises(ValueError, match=rf"a\.tsv, line {next(iter(problems))}: "):
            list(read_corpus(tmp_path / "a.tsv"))


CELLS = st.text(st.sampled_from('ab" \n\té'), max_size=6)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6))
def test_rows_are_those_of_the_csv_module_or_are_refused(rows: list[tuple[str, str, str]]) -> None:
    """What csv.writer wrote is read again, and a cell with a line break and a tab is the only one that is refused."""
    csv.writer(stream := io.StringIO(newline=""), delimiter="\t", lineterminator="\n").writerows(rows)
    lines = io.StringIO(stream.getvalue(), newline="")
    parsed = [value for _, value in parse_table(lines, ("x", "y", "z"))]
    assert len(parsed) == len(rows)
    for value, row in zip(parsed, rows, strict=True):
        assert isinstance(value, str) == any({"\n", "\t"} <= set(cell) for cell in row)
        assert isinstance(value, str) or tuple(value.values()) == row


@settings(deadline=None)
@given(table=st.text(st.sampled_from('ab"\n\t'), max_size=40))
def test_any_table_gives_what_the_csv_module_gives_or_a_malformed_row(table: str) -> None:
    lines = table.splitlines(keepends=True)
    theirs = iter([row for row in csv.reader(lines, delimiter="\t") if row])
    numbers = []
    for number, value in parse_table(lines, ("x", "y")):
        numbers.append(number)
        row = next(theirs)
        if isinstance(value, dict):
            assert list(value.values()) == row
        else:
            assert len(row) != 2 or NEVER in value or any({"\n", "\t"} <= set(cell) for cell in row)
    assert next(theirs, None) is None
    assert numbers == sorted(set(numbers))


def test_a_quote_that_is_never_closed_is_reported_before_the_file_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpr_export.runtime.corpus.table.LONGEST_LINE", 100)
    monkeypatch.setattr(text_files, "LONGEST_LINE", 100)
    read = 0

    def lines() -> object:
        nonlocal read
        for number in range(1000):
            read += 1
            yield {3: '3\t"a\tT\n', 500: '500\ta"\tT\n'}.get(number, f"{number}\ta\tT\n")

    rows = parse_table(lines(), ("id", "text", "title"))
    assert [next(rows)[0] for _ in range(3)] == [1, 2, 3]
    number, problem = next(rows)
    assert (number, problem[:62]) == (4, "a quote opens in it and is not closed for 100 characters: writ")
    assert read < 30
    assert next(rows) == (502, {"id": "501", "text": "a", "title": "T"})


def test_questions_are_tables_of_the_same_kind(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('"who wrote it\t[1]\nwhat "is" it\t["b"]\n')
    with pytest.raises(ValueError, match=r"a\.tsv, line 1: a quote opens in it and closes only 1 lines further down"):
        read_questions(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    "name", ["UP.TSV", "Up.Tsv", "UP.TSV.GZ", "up.tsv.Gz", "UP.JSONL", "UP.JSONL.GZ", "UP.PARQUET"]
)
def test_a_name_in_capitals_is_a_format(tmp_path: Path, name: str) -> None:
    content = b'{"id": "1", "title": "T", "text": "a"}\n' if "JSONL" in name else b"1\ta\tT\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    if "PARQUET" in name:
        pyarrow.parquet.write_table(pyarrow.table({"id": ["1"], "title": ["T"], "text": ["a"]}), tmp_path / name)
    assert list(read_corpus(tmp_path / name)) == [Passage("1", "T", "a")]
