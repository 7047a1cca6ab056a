"""Ids, titles and texts have the names that public corpora give them; other names are refused, never replaced."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from dpr_export.runtime.corpus import passages as passages_module
from dpr_export.runtime.corpus.duplicate_ids import SeenIds
from dpr_export.runtime.corpus.passages import Passage, read_corpus
from dpr_export.runtime.corpus.retrieval.questions import read_questions

READ = {  # the columns of a public corpus, with what stands in its first row: the passage
    "facebookresearch/DPR's psgs_w100": ({"id": "1", "text": "a", "title": "T"}, ("1", "T", "a")),
    "wiki_dpr": ({"id": "1", "text": "a", "title": "T", "embeddings": [0.5]}, ("1", "T", "a")),
    "BEIR": ({"_id": "MED-10", "title": "T", "text": "a", "metadata": {"url": "u"}}, ("MED-10", "T", "a")),
    "Pyserini": ({"id": "D1#0", "contents": "T\na"}, ("D1#0", None, "T\na")),
    "MS MARCO's passages": ({"pid": 7, "passage": "a"}, ("7", None, "a")),
    "MS MARCO's passages, version 2": ({"pid": "msmarco_passage_00_0", "passage": "a", "spans": "(0,9)", "docid": "D1"}, ("msmarco_passage_00_0", None, "a")),
    "MS MARCO's documents": ({"docid": "D1", "url": "u", "title": "T", "body": "a"}, ("D1", "T", "a")),
    "MS MARCO's segments": ({"docid": "D1#1", "url": "u", "title": "T", "headings": "h", "segment": "a"}, ("D1#1", "T", "a")),
    "Tevatron, MIRACL": ({"docid": "5#0", "title": "T", "text": "a"}, ("5#0", "T", "a")),
    "ir_datasets": ({"doc_id": "D1", "text": "a"}, ("D1", None, "a")),
    "TREC": ({"docno": "FT911-3", "title": "T", "text": "a"}, ("FT911-3", "T", "a")),
    "facebookresearch/DPR's training sets": ({"title": "T", "text": "a", "score": 1, "passage_id": "9"}, ("9", "T", "a")),
    "an older training set": ({"title": "T", "text": "a", "psg_id": 9}, ("9", "T", "a")),
    "capitals": ({"ID": "1", "Title": "T", "Text": "a"}, ("1", "T", "a")),
    "spaces": ({" id": "1", "title ": "T", "text": "a"}, ("1", "T", "a")),
    "a document's id too": ({"id": "1", "docid": "D", "text": "a"}, ("1", None, "a")),
    "two texts": ({"id": "1", "text": "a", "contents": "T\na"}, ("1", None, "a")),
    "other columns": ({"id": "1", "text": "a", "wikipedia_id": "2", "language": "en", "input_ids": [1]}, ("1", None, "a")),
    "no id": ({"text": "a", "title": "T", "url": "u", "valid": 1, "paid": 2, "notes": "n"}, ("1", "T", "a")),
}  # fmt: skip
REFUSED = {  # what stands in a row, and the words that name what is wrong with it
    "chunk_id": ({"chunk_id": "1", "text": "a"}, '"chunk_id" looks like the id'),
    "chunkId": ({"chunkId": "1", "text": "a"}, '"chunkId" looks like the id'),
    "wikipedia_id": ({"wikipedia_id": "1", "text": "a"}, '"wikipedia_id" looks like the id'),
    "documentId": ({"text": "a", "documentId": "1"}, '"documentId" looks like the id'),
    "articleid": ({"text": "a", "articleid": "1"}, '"articleid" looks like the id'),
    "uuid": ({"uuid": "1", "text": "a"}, '"uuid" looks like the id'),
    "key": ({"key": "1", "text": "a"}, '"key" looks like the id'),
    "index": ({"index": 0, "text": "a"}, '"index" looks like the id'),
    "passage.id": ({"passage.id": "1", "text": "a"}, '"passage.id" looks like the id'),
    "cid": ({"cid": 1, "text": "a"}, '"cid" looks like the id'),
    "page_title": ({"id": "1", "page_title": "T", "text": "a"}, '"page_title" looks like the title'),
    "pageTitle": ({"id": "1", "pageTitle": "T", "text": "a"}, '"pageTitle" looks like the title'),
    "twice": ({"id": "1", "ID": "2", "text": "a"}, '"id" is there 2 times'),
}


def write(path: Path, row: dict[str, Any]) -> Path:
    """The row as JSON lines, as Parquet or as a table, by the ending of the name."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    elif path.suffix == ".tsv":
        cells = (str(cell).replace("\n", " ") for cell in row.values())
        path.write_text("\t".join(row) + "\n" + "\t".join(cells) + "\n")
    else:
        path.write_text(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "tsv"])
def test_the_columns_of_public_corpora_are_read(tmp_path: Path, name: str, ending: str) -> None:
    row, (id, title, text) = READ[name]
    (passage,) = read_corpus(write(tmp_path / f"a.{ending}", row))
    is_numbered_by_line = ending == "tsv" and name == "no id"
    expected = Passage("2" if is_numbered_by_line else id, title, text.replace("\n", " ") if ending == "tsv" else text)
    assert passage == expected


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "tsv"])
def test_another_name_of_an_id_or_title_is_named_and_never_replaced(tmp_path: Path, name: str, ending: str) -> None:
    row, words = REFUSED[name]
    with pytest.raises(ValueError, match=rf"a\.{ending}") as error:
        list(read_corpus(write(tmp_path / f"a.{ending}", row)))
    assert words in str(error.value)


def test_the_passages_of_retrieval_results_have_the_same_names(tmp_path: Path) -> None:
    contexts = [
        READ[name][0] for name in ("Tevatron, MIRACL", "BEIR", "Pyserini", "facebookresearch/DPR's training sets")
    ]
    (tmp_path / "a.json").write_text(json.dumps([{"question": "q", "ctxs": contexts}]))
    (question,) = read_questions(tmp_path / "a.json").questions
    assert [each.id for each in question.retrieved or ()] == ["5#0", "MED-10", "D1#0", "9"]
    for row, words in (REFUSED["chunk_id"], REFUSED["page_title"]):
        (tmp_path / "a.json").write_text(json.dumps([{"question": "q", "ctxs": [row]}]))
        with pytest.raises(ValueError, match=rf"question 1, passage 1: {words}"):
            read_questions(tmp_path / "a.json")


@pytest.mark.parametrize("id", ['""', '" "', '"\\t"', '"\\u00a0"'])
def test_an_empty_id_is_reported(tmp_path: Path, id: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"_id": {id}, "text": "a"}}\n{{"_id": "x", "text": "b"}}\n')
    with pytest.raises(ValueError, match=r'a\.jsonl, line 1: "_id" is empty'):
        list(read_corpus(tmp_path / "a.jsonl"))
    assert [each.id for each in read_corpus(tmp_path / "a.jsonl", on_error="skip")] == ["x"]


def test_the_ids_of_earlier_passages_are_reported_and_kept(tmp_path: Path) -> None:
    ids = ["1", "2", 1, "3", "2", "01"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": id, "text": "a"}) + "\n" for id in ids))
    told: list[str] = []
    assert [each.id for each in read_corpus(tmp_path / "a.jsonl", tell=told.append)] == [str(id) for id in ids]
    where = f"note: {tmp_path}/a.jsonl, line"
    assert told == [f"{where} 3: id '1' is an earlier passage's too", f"{where} 5: id '2' is an earlier passage's too"]


def test_many_ids_of_earlier_passages_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("7\ta\tT\n" * 1300)
    told: list[str] = []
    assert len(list(read_corpus(tmp_path / "a.tsv", tell=told.append))) == 1300
    assert len(told) == passages_module.DUPLICATES + 1
    assert told[-1] == "note: 1,299 passages have the id of an earlier one"


def test_ids_are_found_again_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpr_export.runtime.corpus.duplicate_ids._RECENT", 7)
    seen = SeenIds()
    assert all(seen.add(f"p{number}") for number in range(1000))
    assert not any(seen.add(f"p{number}") for number in range(1000))
    assert seen.add("p1000")
