"""Calibration and judging texts: read from people's files, and the project's own two sets apart from each other."""

from pathlib import Path

import pytest

from dpr_export.quantization.texts import CALIBRATION_SET_FILE, EVALUATION_SET_FILE, QuestionAndPassage, read_texts


def test_the_two_sets_are_whole_varied_and_share_no_text() -> None:
    calibration, judging = (read_texts(path).rows for path in (CALIBRATION_SET_FILE, EVALUATION_SET_FILE))
    assert len(calibration) == len(judging) == 200
    for column in ("question", "text"):
        ours, theirs = ({getattr(row, column) for row in rows} for rows in (calibration, judging))
        assert len(ours) == len(theirs) == 200
        assert not ours & theirs
    for rows in (calibration, judging):
        lengths = sorted(len(row.text.split()) for row in rows)
        assert lengths[0] < 15
        assert lengths[100] > 50
        assert lengths[-1] > 200


def test_json_lines_and_tabs_give_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "title": "t", "text": "x"}\n\n{"text": "only"}\n')
    (tmp_path / "a.tsv").write_text("question\ttitle\ttext\nq\tt\tx\n\t\tonly\n")
    expected = (QuestionAndPassage("q", "t", "x"), QuestionAndPassage("", "", "only"))
    assert read_texts(tmp_path / "a.jsonl").rows == read_texts(tmp_path / "a.tsv").rows == expected


def test_a_header_names_the_columns_and_a_byte_order_mark_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("\ufeffid\ttext\ttitle\n1\tx\tt\n")
    assert read_texts(tmp_path / "a.tsv").rows == (QuestionAndPassage("", "t", "x"),)
    (tmp_path / "a.jsonl").write_text('\ufeff{"text": "x"}\n')
    assert read_texts(tmp_path / "a.jsonl").rows == (QuestionAndPassage("", "", "x"),)


def test_of_a_long_file_the_same_rows_are_drawn_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"q{number}\tt\tx\n" for number in range(1000)))
    drawn = read_texts(tmp_path / "a.tsv", limit=10)
    assert len({row.question for row in drawn.rows}) == 10
    assert drawn == read_texts(tmp_path / "a.tsv", limit=10)
    assert drawn.rows != read_texts(tmp_path / "a.tsv", limit=1000).rows[:10]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"q", r"must end in \.jsonl or \.tsv"),
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"{", "line 1: not JSON"),
        ("a.jsonl", b'{"text": 3}', "line 1, needs strings"),
        ("a.jsonl", b"[]", "line 1: not a JSON object"),
        ("a.jsonl", b'{"other": "x"}', "line 1, needs strings"),
        ("a.tsv", b"q\tt\tx\nq\tt\n", "line 2: the number of columns is 2, not 3: question, title, text"),
        ("a.tsv", b"\xff\tt\tx\n", "is not UTF-8 text"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_texts(tmp_path / name)
