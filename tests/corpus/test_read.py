"""Corpora are read row by row, as facebookresearch/DPR and libraries of the formats do; malformed rows are reported."""

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpr_export.runtime.corpus.passages import Passage, Progress, format_of, read_corpus
from tests.corpus.conftest import passages, write_jsonl, write_tsv

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=20).filter(
    lambda text: not {"\n", "\t"} <= set(text)  # a table with such a cell is malformed
)


def test_a_table_is_read_as_facebookresearch_dpr_reads_it(tmp_path: Path) -> None:
    """Its reader in four lines: csv with tabs, the header by its name, quotes around the text taken off."""
    lines = 'id\ttext\ttitle\n1\t"Aaron ( or ; """"Ahärôn"""") is"\tAaron\n2\t"""quoted"""\tA "b"\n3\tit\'s "so"\t""\n'
    file = tmp_path / "psgs.tsv"
    file.write_text(lines, encoding="utf-8")
    expected = [(r[0], r[1].strip('"'), r[2]) for r in csv.reader(io.StringIO(lines), delimiter="\t") if r[0] != "id"]
    assert [(row.id, row.text, row.title or "") for row in read_corpus(str(file))] == expected
    assert expected[0][1] == 'Aaron ( or ; ""Ahärôn"") is'


@settings(deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS.filter(lambda text: text == text.strip('"'))), max_size=5))
def test_what_was_written_is_read_whatever_the_text(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("any")
    made = [Passage(str(number), title or None, text) for number, (title, text) in enumerate(rows)]
    for file in (write_tsv(folder / "a.tsv", made), write_jsonl(folder / "a.jsonl", made)):
        assert list(read_corpus(str(file))) == made


def test_every_format_gives_the_same_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = passages(3000)
    table = pyarrow.table(
        {"id": [row.id for row in rows], "text": [r.text for r in rows], "title": [r.title for r in rows]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    for file in (write_tsv(tmp_path / "a.tsv", rows), write_jsonl(tmp_path / "a.jsonl", rows)):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
        assert list(read_corpus("-", file.suffix[1:])) == rows
    for name in ("a.tsv", "a.jsonl", "a.tsv.gz", "a.jsonl.gz", "a.parquet"):
        progress = Progress()
        assert list(read_corpus(str(tmp_path / name), progress=progress)) == rows, name
        assert (progress.fraction, progress.passages, progress.estimated_total) == (1.0, 3000, 3000), name


def test_the_number_of_passages_is_estimated_while_a_file_is_read(tmp_path: Path) -> None:
    progress = Progress()
    reader = read_corpus(str(write_tsv(tmp_path / "a.tsv", passages(3000))), progress=progress)
    for _ in range(1000):
        next(reader)
    assert progress.estimated_total == pytest.approx(3000, rel=0.15)
    reader.close()


def test_columns_may_stand_in_any_order_and_ids_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("title\ttext\nHamlet\tA play.\n")
    assert list(read_corpus(str(tmp_path / "a.tsv"))) == [Passage("2", "Hamlet", "A play.")]
    (tmp_path / "b.tsv").write_text("7\tA play.\tHamlet\n")
    assert list(read_corpus(str(tmp_path / "b.tsv"))) == [Passage("7", "Hamlet", "A play.")]
    (tmp_path / "c.jsonl").write_text('\ufeff{"_id": 3, "text": "a"}\n\n{"text": "b", "title": "", "more": 1}\n')
    assert list(read_corpus(str(tmp_path / "c.jsonl"))) == [Passage("3", None, "a"), Passage("3", None, "b")]


BAD = [
    ("a.jsonl", b'{"text": 1}', 1, '"text" is of type int, and must be a string'),
    ("a.jsonl", b'{"id": "x"}', 1, '"text" is missing'),
    ("a.jsonl", b'{"text": "a", "title": []}', 1, '"title" is of type list'),
    ("a.jsonl", b'{"text": "a", "id": true}', 1, '"id" is of type bool, and must be a string or an integer'),
    ("a.jsonl", b'{"text": "a", "id": 1.5}', 1, '"id" is of type float'),
    ("a.jsonl", b'{"text": "a", "id": null}', 1, '"id" is of type NoneType'),
    ("a.jsonl", b'{"text": "\xff"}', 1, "not UTF-8 text"),
    ("a.jsonl", b'{"text": "\\ud800"}', 1, "not UTF-8 text"),
    ("a.jsonl", b"[1]", 1, "not a JSON object"),
    ("a.jsonl", b"{", 1, "not JSON"),
    ("a.jsonl", b"[" * 100_000, 1, "not JSON"),
    ("a.tsv", b"id\ttext\ttitle\nonly\ttwo", 2, "the number of columns is 2, not 3: id, text, title"),
    ("a.tsv", b"1\t\xff\ttitle", 1, "not UTF-8 text"),
    (
        "a.jsonl",
        b'{"text": "' + b"x" * 131_073 + b'"}',
        1,
        "131,073 characters, and a passage may have 131,072",
    ),
    ("a.tsv", b'1\t"' + b"x" * 140_000 + b'"\ttitle', 1, "field larger than field limit"),
    ("a.jsonl", b'{"text": "' + b"x" * (1 << 24) + b'"}', 1, "longer than 16,777,216 characters"),
    ("a.tsv", b"1\t" + b"x" * (1 << 24) + b"\ttitle", 1, "longer than 16,777,216 characters"),
]


@pytest.mark.parametrize(("name", "line", "number", "words"), BAD)
def test_a_malformed_row_is_reported_by_its_number_and_may_be_skipped(
    tmp_path: Path, name: str, line: bytes, number: int, words: str
) -> None:
    good = b'\n{"text": "good"}\n' if name == "a.jsonl" else b"\n9\tgood\ttitle\n"
    (tmp_path / name).write_bytes(line + good)
    with pytest.raises(ValueError, match=rf"{name}, line {number}: ") as error:
        list(read_corpus(str(tmp_path / name)))
    assert words in str(error.value)
    said: list[str] = []
    progress = Progress()
    rows = list(read_corpus(str(tmp_path / name), on_error="skip", tell=said.append, progress=progress))
    assert [row.text for row in rows] == ["good"]
    assert (progress.passages, progress.skipped) == (1, 1)
    assert len(said) == 1
    assert f"line {number}: " in said[0]
    assert words in said[0]


def test_a_malformed_row_of_a_parquet_file_is_reported(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None, "c"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r'a\.parquet, row 2: "text" is missing'):
        list(read_corpus(str(tmp_path / "a.parquet")))
    assert [row.id for row in read_corpus(str(tmp_path / "a.parquet"), on_error="skip")] == ["1", "3"]


def test_a_header_is_known_by_its_names(tmp_path: Path) -> None:
    for header in ("id\ttext\ttitle", "Id\tText\tTitle", "\nid\ttext\ttitle", "_id\ttext\tmore", "pid\ttext \ttitle"):
        (tmp_path / "a.tsv").write_text(f"{header}\n7\tA play.\tHamlet\n")
        (row,) = read_corpus(tmp_path / "a.tsv")
        assert (row.id, row.text) == ("7", "A play."), header


@pytest.mark.parametrize("header", ["id\tparagraph\ttitle", "id\tsummary\tname", "title\tid", "id\ttext\ttext"])
def test_a_header_without_the_text_is_no_passage(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.tsv").write_text(f"{header}\n" + "\t".join("x" for _ in header.split("\t")) + "\n")
    for on_error in ("stop", "skip"):
        with pytest.raises(ValueError, match=r'a\.tsv has the columns .*: (the text is missing|"text" is there 2)'):
            list(read_corpus(tmp_path / "a.tsv", on_error=on_error))


def test_a_bad_argument_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_error is 'go', and must be one of: stop, skip"):
        read_corpus(tmp_path / "a.tsv", on_error="go")


def test_columns_of_a_parquet_file_are_checked_once(tmp_path: Path) -> None:
    arrays = [pyarrow.array([1, 2]), pyarrow.array(["a", "b"]), pyarrow.array(["c", "d"])]
    for names in (["id", "text", "text"], ["id", "title", "words"], ["id", "text", "Text"]):
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=names), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=r'a\.parquet has the columns id, .*: (the text is|"text" is there 2)'):
            list(read_corpus(tmp_path / "a.parquet", on_error="skip"))
    days = pyarrow.table({"id": pyarrow.array([2**30], pyarrow.date32()), "text": ["a"]})
    pyarrow.parquet.write_table(days, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as Parquet: days=1073741824"):
        list(read_corpus(tmp_path / "a.parquet"))


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"text": "a"}).encode() * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    (tmp_path / "no.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    for name, words in (
        ("cut.jsonl.gz", "is damaged"),
        ("no.jsonl.gz", "is damaged"),
        ("no.parquet", "cannot be read as Parquet"),
    ):
        with pytest.raises(ValueError, match=words):
            list(read_corpus(str(tmp_path / name), on_error="skip"))
    with pytest.raises(OSError, match=r"none\.tsv cannot be read: No such file or directory"):
        list(read_corpus(str(tmp_path / "none.tsv")))
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(OSError, match="is a folder: give a file"):
        list(read_corpus(str(tmp_path / "folder.tsv")))


def test_a_format_is_that_of_the_name_or_the_one_that_is_given() -> None:
    assert format_of("a.b/passages.jsonl.gz") == "jsonl"
    assert format_of("passages", "tsv") == "tsv"
    for file, asked, words in (
        ("-", "auto", "standard input has no name"),
        ("a.txt", "auto", "a.txt has no ending"),
        ("a.tsv", "xml", "format is 'xml', and must be one of: auto, tsv, jsonl, parquet"),
    ):
        with pytest.raises(ValueError, match=words):
            format_of(file, asked)
