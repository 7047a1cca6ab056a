"""The metrics of `evaluate` are those of SQuAD's rules on what transformers' model answers, to the digit."""

import json
import re
import string
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dpr_export.exporter import export
from dpr_export.runtime.corpus import Models, Score, encode_corpus
from dpr_export.runtime.corpus.evaluation.evaluate import evaluate
from dpr_export.runtime.corpus.retrieval.build_index import build_index
from dpr_export.runtime.corpus.retrieval.index import PassageIndex
from dpr_export.runtime.corpus.retrieval.questions import Question, read_questions, write_retrieved
from dpr_export.runtime.corpus.retrieval.search import search
from dpr_export.runtime.inference.encoders import DPRQuestionEncoder
from dpr_export.runtime.inference.reader import DPRReader
from tests.commands import run_command
from tests.corpus.conftest import passages

run = partial(run_command, "dpr-runtime")
LONGEST = 10


@pytest.fixture(scope="module")
def squad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions on 60 passages, whose answers are pieces of them, right words, and others' words."""
    draw = np.random.default_rng(0)
    articles: list[dict[str, Any]] = []
    for row in passages(60, seed=3):
        words = row.text.split()[:300]
        questions = []
        for number in range(2):
            start = int(draw.integers(0, len(words)))
            answers = [" ".join(words[start : start + int(draw.integers(1, 4))]), "the " + words[start].upper() + "!"]
            questions.append({"id": f"{row.id}-{number}", "question": f"who {words[start]} ?", "answers": answers})
        for question in questions:
            question["answers"] = [{"text": text, "answer_start": 0} for text in question["answers"]]
        articles.append(
            {
                "title": (row.title or "").replace(" ", "_"),
                "paragraphs": [{"context": " ".join(words), "qas": questions}],
            }
        )
    path = tmp_path_factory.mktemp("squad") / "dev.json"
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return path


def official(answer: str, right: list[str]) -> tuple[float, float]:
    """Exact match and F1 by SQuAD's rules, said once more."""

    def words(text: str) -> list[str]:
        text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def harmonic(ours: list[str], theirs: list[str]) -> float:
        common = sum((Counter(ours) & Counter(theirs)).values())
        return (
            2 * (common / len(ours)) * (common / len(theirs)) / (common / len(ours) + common / len(theirs))
            if common
            else 0.0
        )

    return (
        max(float(words(answer) == words(each)) for each in right),
        max(harmonic(words(answer), words(each)) for each in right),
    )


def answers_of(score: Score) -> list[str | None]:
    return [each.answer for each in score.scores]


def transformers_answer(model: Any, tokenizer: Any, question: str, title: str, text: str) -> str:
    """The best span of the text by transformers' model, tried one by one, as it stands in the text, in whole words."""
    (head,) = tokenizer([question], [title])["input_ids"]  # in lists, or an empty title would be none
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = (head + tokens["input_ids"])[:512]
    with torch.no_grad():
        outputs = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    starts, ends = outputs.start_logits[0].numpy(), outputs.end_logits[0].numpy()
    spans = [
        (-(starts[i] + ends[j]), i, j) for i in range(len(head), len(ids)) for j in range(i, min(i + LONGEST, len(ids)))
    ]
    _, first, last = min(spans)
    begin, end = tokens["offset_mapping"][first - len(head)][0], tokens["offset_mapping"][last - len(head)][1]
    while begin > 0 and _in_one_word(text[begin - 1], text[begin]):
        begin -= 1
    while end < len(text) and _in_one_word(text[end - 1], text[end]):
        end += 1
    return text[begin:end]


def _in_one_word(left: str, right: str) -> bool:
    """Of the letters that the corpus is made of; Chinese is written without spaces."""
    return right == "\u0301" or all(
        (letter.isalnum() and letter < "\u2e80") or letter == "\u0301" for letter in (left, right)
    )


def test_exact_match_and_f1_are_those_of_transformers_own_answers(tiny: dict[str, Path], squad: Path) -> None:
    checkpoint = tiny["reader"].with_name("reader-checkpoint")
    model = transformers.DPRReader.from_pretrained(checkpoint).eval()
    tokenizer = transformers.BertTokenizerFast.from_pretrained(checkpoint)
    asked = read_questions(str(squad))
    expected, theirs = [], []
    for question, own in zip(asked.questions, asked.gold, strict=True):
        row = asked.passages[own]
        theirs.append(transformers_answer(model, tokenizer, question.text, row.title or "", row.text))
        expected.append(official(theirs[-1], list(question.answers)))
    scores = list(evaluate(str(squad), Models(reader=str(tiny["reader"]))))
    assert {score.variant for score in scores} == {"openvino-fp32", "onnxruntime-fp32"}
    for score in scores:
        differing = [(a, b) for a, b in zip(answers_of(score), theirs, strict=True) if a != b]
        assert differing == []
        assert score.exact_match == np.mean([each[0] for each in expected])
        assert score.f1 == np.mean([each[1] for each in expected])
        assert 0 < score.f1 < 1
        assert score.top_k == {}


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_top_k_is_counted_over_what_transformers_vectors_find(
    tiny: dict[str, Path], squad: Path, tmp_path: Path, similarity: str
) -> None:
    from tests.corpus.test_index import compared_by_cosine, reference_vectors
    from tests.corpus.test_questions import reference_has_answer

    asked = read_questions(str(squad))
    texts = [(row.text,) if row.title is None else (row.title, row.text) for row in asked.passages]
    questions = reference_vectors(tiny, "question", [(q.text,) for q in asked.questions])
    found, folders = reference_vectors(tiny, "context", texts), tiny
    if similarity == "cosine":
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        folders = {kind: compared_by_cosine(tiny[kind], tmp_path / kind) for kind in ("question", "context")}
    scores = questions @ found.T
    hits = []
    for question, its in zip(asked.questions, scores, strict=True):
        order = np.argsort(-its, kind="stable")
        hits.append([reference_has_answer(asked.passages[place].text, list(question.answers)) for place in order])
    models = Models(str(folders["question"]), str(folders["context"]))
    (score,) = evaluate(str(squad), models, variants=["onnxruntime-fp32"])
    assert score.top_k == {k: np.mean([any(its[:k]) for its in hits]) for k in (1, 5, 20)}
    assert 0 < score.top_k[1] < score.top_k[20]
    assert score.exact_match is None
    assert score.searched == 60
    assert score.milliseconds.keys() == {"encode", "search"}


def test_an_index_and_a_retrievers_file_give_the_same_as_the_passages(
    tiny: dict[str, Path], squad: Path, tmp_path: Path
) -> None:
    asked = read_questions(str(squad))
    rows = [json.dumps(row._asdict()) for row in asked.passages]
    (tmp_path / "passages.jsonl").write_text("\n".join(rows))
    pairs = [f"{q.text}\t{list(q.answers)!r}\n" for q in asked.questions if '"' not in q.text]
    (tmp_path / "questions.tsv").write_text("".join(pairs))
    encode_corpus(tiny["context"], str(tmp_path / "passages.jsonl"), tmp_path / "c", backend="onnxruntime")
    build_index(tmp_path / "c", tmp_path / "index")
    question, context, reader = (str(tiny[kind]) for kind in ("question", "context", "reader"))
    options: dict[str, Any] = {"variants": ["onnxruntime-fp32"], "read": 3}
    data = str(tmp_path / "questions.tsv")
    (searched,) = evaluate(data, Models(question, None, reader), index=tmp_path / "index", **options)
    (encoded,) = evaluate(data, Models(question, context, reader), passages=str(tmp_path / "passages.jsonl"), **options)
    with (
        PassageIndex.open(tmp_path / "index") as index,
        DPRQuestionEncoder.from_pretrained(question, backend="onnxruntime") as encoder,
    ):
        write_retrieved(tmp_path / "found.json", search(read_questions(data).questions, encoder, index))
    (given,) = evaluate(str(tmp_path / "found.json"), Models(reader=reader), **options)
    assert (searched.searched, encoded.searched, given.searched) == (60, 60, None)
    for score in (encoded, given):
        assert (score.top_k, score.exact_match, score.f1) == (searched.top_k, searched.exact_match, searched.f1)
        assert score.scores == searched.scores
    with DPRReader.from_pretrained(reader, backend="onnxruntime") as model:
        for q, answer in zip(read_questions(str(tmp_path / "found.json")).questions, answers_of(given), strict=True):
            three = (q.retrieved or ())[:3]
            (best,) = model.answer(q.text, [f.title or "" for f in three], [f.text for f in three], top_k=1)
            assert answer == best.text
    assert given.milliseconds.keys() == {"read"}
    assert searched.milliseconds.keys() == {"encode", "search", "read"}


def test_what_cannot_be_evaluated_is_one_clear_line(tiny: dict[str, Path], squad: Path, tmp_path: Path) -> None:
    reader, question, context = (str(tiny[kind]) for kind in ("reader", "question", "context"))
    (tmp_path / "q.tsv").write_text("who ?\t['a']\n")
    (tmp_path / "none.tsv").write_text("who ?\t[]\n")
    table, dev = str(tmp_path / "q.tsv"), str(squad)
    (tmp_path / "empty.jsonl").write_text("")
    empty = {"passages": str(tmp_path / "empty.jsonl")}
    asked = [{"question": "a", "answers": ["x"], "ctxs": [{"text": "x"}]}, {"question": "b", "answers": ["y"]}]
    (tmp_path / "mixed.json").write_text(json.dumps(asked))
    cases: list[tuple[str, str, Models, dict[str, Any]]] = [
        ("there is nothing to evaluate", dev, Models(), {}),
        ("question 1: no answers, so nothing can be evaluated", str(tmp_path / "none.tsv"), Models(reader=reader), {}),
        ("has no passages to read", table, Models(reader=reader), {}),
        ("has no passages to search", table, Models(question, context), {}),
        ("give --context-encoder; or give --index", dev, Models(question), {}),
        ("give --question-encoder", dev, Models(reader=reader), {"passages": "a.tsv"}),
        ("give --passages or --index, not both", dev, Models(question), {"passages": "a.tsv", "index": "i"}),
        (
            "variant is 'onnxruntime-int8', and all folders hold: onnxruntime-",
            dev,
            Models(reader=reader),
            {"variants": ["onnxruntime-int8"]},
        ),
        ("empty.jsonl holds no passages", table, Models(question, context), empty),
        ("question 1 or question 2 has passages", str(tmp_path / "mixed.json"), Models(reader=reader), {}),
        ("holds a question model, and must hold a reader model", dev, Models(reader=question), {}),
        ("holds a context model, and must hold a question model", dev, Models(context, question), {}),
        ("give --context-encoder or --index, not both", dev, Models(question, context), {"index": "i"}),
        ("read is 0, and must be at least 1", dev, Models(reader=reader), {"read": 0}),
        ("max_answer_length is 0, and must be", dev, Models(reader=reader), {"max_answer_length": 0}),
    ]
    for words, data, models, options in cases:
        with pytest.raises(ValueError, match=words):
            list(evaluate(data, models, **options))


def test_the_command_shows_a_table_json_and_a_picture(tiny: dict[str, Path], squad: Path, tmp_path: Path) -> None:
    models = ("--reader", tiny["reader"], "--question-encoder", tiny["question"], "--context-encoder", tiny["context"])
    command = ("evaluate", squad, *models, "--read", "2")
    said = run(*command, "--picture", tmp_path / "a.png").stdout
    assert said.startswith("120 questions, 60 passages searched, 2 read for each")
    for words in (
        "openvino-fp32",
        "onnxruntime-fp32",
        "top-1, %",
        "exact match, %",
        "F1, %",
        "read, ms per question",
        "(+0.0)",
    ):
        assert words in said
    assert "…" not in said
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads(run(*command, "--json").stdout)
    assert {score["variant"] for score in scores} == {"openvino-fp32", "onnxruntime-fp32"}
    assert len(scores[0]["scores"]) == 120
    question_scores = scores[0]["scores"]
    assert question_scores[0].keys() == {"question", "right_answers", "rank", "answer", "exact_match", "f1"}
    assert np.mean([each["exact_match"] for each in question_scores]) == scores[0]["exact_match"]
    assert np.mean([each["rank"] == 1 for each in question_scores]) == scores[0]["top_k"]["1"]
    done = run(*command, "--picture", tmp_path / "a.doc", code=1)
    assert re.search(r"a\.doc cannot be drawn: its name must end with one of .*\.png, ", done.stderr)
    assert not (tmp_path / "a.doc").exists()


def test_questions_without_passages_are_answered_with_nothing(tiny: dict[str, Path], tmp_path: Path) -> None:
    write_retrieved(tmp_path / "found.json", [Question("who ?", ("it",), ())])
    (score,) = evaluate(str(tmp_path / "found.json"), Models(reader=str(tiny["reader"])), variants=["openvino-fp32"])
    assert (answers_of(score), score.exact_match, score.top_k) == ([""], 0.0, {1: 0.0})


def test_questions_that_have_no_answer_count_for_the_reader_alone(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Of SQuAD 2: the empty answer would be in every passage."""
    paragraph = {
        "context": "hamlet was written by shakespeare",
        "qas": [
            {"question": "who wrote hamlet ?", "answers": [{"text": "shakespeare"}]},
            {"question": "who wrote it ?", "answers": [{"text": "paris"}]},
            {"question": "why ?", "answers": [], "is_impossible": True},
        ],
    }
    data = {"version": "v2.0", "data": [{"title": "Hamlet", "paragraphs": [paragraph]}]}
    (tmp_path / "dev.json").write_text(json.dumps(data))
    models = Models(*(str(tiny[kind]) for kind in ("question", "context", "reader")))
    (score,) = evaluate(str(tmp_path / "dev.json"), models, variants=["onnxruntime-fp32"])
    assert (score.questions, score.top_k) == (3, {1: 0.5})
    rights = [["shakespeare"], ["paris"], [""]]
    metrics = [official(answer, right) for answer, right in zip(answers_of(score), rights, strict=True)]
    assert score.exact_match == np.mean([exact for exact, _ in metrics])
    assert score.f1 == np.mean([f1 for _, f1 in metrics])


@pytest.mark.ci
def test_a_context_encoder_of_another_width_is_refused(
    tiny: dict[str, Path], squad: Path, checkpoint: Any, tmp_path: Path
) -> None:
    export(str(checkpoint("context", projection_dim=24)), tmp_path / "other")
    models = Models(str(tiny["question"]), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="dimension 32, and the context encoder has 24"):
        list(evaluate(str(squad), models, variants=["onnxruntime-fp32"]))


def test_an_index_that_finds_too_few_is_scored_at_the_same_k(
    tiny: dict[str, Path], squad: Path, tmp_path: Path
) -> None:
    """Or variants that happen to find more and less would have other rows in the table."""
    rows = [json.dumps(row._asdict()) for row in read_questions(str(squad)).passages]
    (tmp_path / "passages.jsonl").write_text("\n".join(rows))
    encode_corpus(tiny["context"], tmp_path / "passages.jsonl", tmp_path / "c", backend="onnxruntime")
    build_index(tmp_path / "c", tmp_path / "index", factory="IVF30,Flat")
    models = Models(str(tiny["question"]))
    (score,) = evaluate(str(squad), models, index=tmp_path / "index", variants=["onnxruntime-fp32"])
    with (
        PassageIndex.open(tmp_path / "index") as index,
        DPRQuestionEncoder.from_pretrained(tiny["question"]) as encoder,
    ):
        found = search(read_questions(str(squad)).questions, encoder, index, 100)
    assert max(len(question.retrieved or ()) for question in found) < 20
    assert (score.searched, list(score.top_k)) == (60, [1, 5, 20])


def test_long_titles_and_questions_fail_no_variant(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Three such passages made every question that retrieves one an error, and dropped every variant."""
    long = "play " * 600
    rows = [{"id": str(n), "title": long if n < 3 else "t", "text": f"hamlet {n} is a play"} for n in range(6)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    (tmp_path / "q.tsv").write_text(f"who wrote hamlet ?\t['play']\n{long}\t['play']\nwho ?\t['x']\n")
    models = Models(str(tiny["question"]), str(tiny["context"]), str(tiny["reader"]))
    told: list[str] = []
    options: dict[str, Any] = {"passages": str(tmp_path / "long.jsonl"), "tell": told.append}
    scores = list(evaluate(str(tmp_path / "q.tsv"), models, variants=["onnxruntime-fp32"], **options))
    ((first, second, third),) = (answers_of(score) for score in scores)
    assert first
    assert (second, bool(third)) == ("", True)
    assert told[0] == f"note: {tmp_path}/long.jsonl, line 7: id '0' is an earlier passage's too"
    assert re.match(r"the question 'play play .*'... gets no answer: passage 0 has 600 tokens of question", told[1])
    assert len(told) == 2


def test_an_index_of_long_titles_is_asked(tiny: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"id": str(n), "title": "play " * 600, "text": f"hamlet {n} is a play"} for n in range(3)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("encode", tiny["context"], tmp_path / "long.jsonl", tmp_path / "corpus")
    run("index", tmp_path / "corpus")
    models = ("--question-encoder", tiny["question"], "--index", tmp_path / "corpus" / "index")
    said = run("ask", *models, "--reader", tiny["reader"], "who wrote hamlet ?", "--top-k", "1").stdout
    assert "(the end of this passage was cut: it is longer than the model's input)" in said
    (tmp_path / "q.tsv").write_text("who ?\t['ham.et', '(']\n")
    search_all = ("search", tmp_path / "corpus" / "index", "--question-encoder", tiny["question"])
    options = ("--questions", tmp_path / "q.tsv", "-o", tmp_path / "found.json")
    said = run(*search_all, *options, "--match", "regex", "--normalize-questions").stdout
    assert "question 1: the answer '(' matches nothing: it is no regular expression" in said
    assert json.loads((tmp_path / "found.json").read_text())[0]["ctxs"][0]["has_answer"] is True
    said = run(*search_all, *options, "--match", "best", code=1).stderr
    assert said == "dpr-runtime: match is 'best', and must be one of: string, regex\n"
    said = run("evaluate", tmp_path / "found.json", "--reader", tiny["reader"], "--match", "regex").stdout
    assert re.search(r"top-1, % +│ +100.0", said)
    assert "F1, %" not in said
