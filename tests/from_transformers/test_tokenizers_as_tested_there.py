"""What transformers' own tests ask of a tokenizer's calls: rows, padding, truncation, words, and version 4's verbs.

transformers beside ours is the installed transformers, 5; for the verbs that only 4 had, its Python tokenizer, which 5
keeps as BertTokenizerLegacy.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from dpr_export.models.outputs import DPRReaderOutput
from dpr_export.runtime import DPRReaderTokenizer
from tests.from_transformers.conftest import Both

TEXT = "Who wrote Hamlet, the play? Shakespeare wanted unrunnable words."
PAIR = "This is a test of some words - in Paris!"
TEXTS = [TEXT, "Who?", "", "  a漢字 \u00e9 [MASK] x[SEP]y " * 3]
EVERYTHING = {"return_special_tokens_mask": True, "return_offsets_mapping": True, "return_length": True}


def same(ours: Any, theirs: Any) -> None:
    """Both encodings have the same columns, in the same order, with the same content."""
    assert list(ours) == list(theirs)
    for name, column in theirs.items():
        mine = ours[name]
        assert type(mine) is type(column), name
        assert np.array_equal(mine, column) if isinstance(column, np.ndarray | torch.Tensor) else mine == column, name


def test_a_word_is_cut_into_the_known_tokens(both: Both) -> None:
    ours, text = both.ours, "UNwant\u00e9d,running"
    tokens = ours.tokenize(text)
    assert tokens == both.theirs.tokenize(text) == ["un", "##want", "##ed", ",", "runn", "##ing"]
    ids = ours.convert_tokens_to_ids(tokens)
    assert ids == ours.encode(text, add_special_tokens=False) == both.theirs.encode(text, add_special_tokens=False)
    assert ours.convert_ids_to_tokens(ids) == tokens
    assert ours.decode(ids) == both.theirs.decode(ids) == "unwanted, running"
    assert ours.convert_tokens_to_string(tokens) == both.theirs.convert_tokens_to_string(tokens) == "unwanted, running"


@pytest.mark.parametrize("options", [{}, {"do_lower_case": True, "strip_accents": False}, {"do_lower_case": False}])
def test_case_accents_spaces_and_punctuation_are_treated_as_there(options: dict[str, bool], vocabulary: Path) -> None:
    ours = DPRReaderTokenizer.from_pretrained(vocabulary, **options)
    theirs = transformers.BertTokenizerFast.from_pretrained(vocabulary, **options)
    for text in (
        *(" \tHeLLo!who  \n Are yoU?  ", "H\u00e9llo", "\u00e4", "ah\u535a\u63a8zz", "a\n'll !!to?'d of, can't."),
        *("\u200e\u200f", "\xad", "Test", "\u00a0a", "a\u0005b", "-$`.", "who [UNK] Who [unk]", "", "x" * 101),
    ):
        same(ours(text, **EVERYTHING), theirs(text, return_token_type_ids=False, **EVERYTHING))


@pytest.mark.parametrize("chinese", [True, False])
def test_chinese_characters_are_words_of_their_own_where_that_is_asked_for(chinese: bool, vocabulary: Path) -> None:
    ours = DPRReaderTokenizer.from_pretrained(vocabulary, tokenize_chinese_chars=chinese)
    assert ours.tokenize("漢字字") == (["漢", "字", "字"] if chinese else ["漢", "##字", "##字"])


@pytest.mark.parametrize("options", [{}, EVERYTHING, {"add_special_tokens": False}, {"padding": True, **EVERYTHING}])
def test_one_text_and_many_are_encoded_alike(options: dict[str, Any], both: Both) -> None:
    ours, theirs = both
    for text, pair in product(TEXTS, [None, "", PAIR]):
        same(ours.encode_plus(text, pair, **options), theirs(text, pair, **options))
    same(ours(TEXTS, **options), theirs(TEXTS, **options))
    if not options.get("padding"):
        rows = [dict(ours.encode_plus(text, PAIR, **options)) for text in TEXTS]
        batch = ours.batch_encode_plus([(text, PAIR) for text in TEXTS], **options)
        for number, row in enumerate(rows):
            row["length"] = row.get("length", [None])[0]
            assert row == {"length": None, **{name: column[number] for name, column in batch.items()}}


def test_the_verbs_of_version_4_are_the_call(both: Both) -> None:
    ours, theirs = both
    pairs = [(TEXT, PAIR), ("Who?", TEXT)]
    same(ours.encode_plus(TEXT), theirs(TEXT))
    same(ours.encode_plus(TEXT, PAIR, max_length=9, truncation=True), theirs(TEXT, PAIR, max_length=9, truncation=True))
    same(ours.batch_encode_plus(TEXTS), theirs(TEXTS))
    for given in (pairs, [list(pair) for pair in pairs], tuple(pairs)):
        same(ours.batch_encode_plus(given, padding=True), theirs(given, padding=True))
        same(ours.batch_encode_plus(given), theirs(*map(list, zip(*pairs, strict=True))))
    assert ours.encode(TEXT, PAIR, stride=2, verbose=False) == theirs.encode(TEXT, PAIR, stride=2, verbose=False)
    for verb in (ours.batch_encode_plus, ours.encode_plus, ours.encode, ours.tokenize):
        with pytest.raises((ValueError, TypeError), match="None"):
            verb(None)
    with pytest.raises(ValueError, match="text is a list, but encode_plus takes one text: call batch_encode_plus"):
        ours.encode_plus(TEXTS)
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_lenght'"):
        ours.encode_plus(TEXT, max_lenght=9)


def test_pairs_are_taken_as_tuples_too(context: Both) -> None:
    pairs = [(TEXT, PAIR), (PAIR, ""), ("", TEXT)]
    for options in ({}, {"padding": True, "truncation": True, "max_length": 9, **EVERYTHING}):
        same(context.ours(pairs, **options), context.theirs(pairs, **options))
    words = [(TEXT.split(), PAIR.split()), (["who"], ["wrote"])]
    same(context.ours(words, is_split_into_words=True), context.theirs(words, is_split_into_words=True))
    with pytest.raises(ValueError, match=r"text\[0\] is of type tuple, but must be a string"):
        context.ours([("who", "wrote"), "hamlet"])


def test_words_already_split_are_encoded_as_their_text_is(both: Both) -> None:
    ours, theirs = both
    words, pair = TEXT.split(), PAIR.split()
    for special in (False, True):
        options = {"is_split_into_words": True, "add_special_tokens": special, "return_special_tokens_mask": True}
        same(ours.encode_plus(words, **options), theirs(words, **options))
        same(ours.encode_plus(words, pair, **options), theirs(words, pair, **options))
        same(
            ours.batch_encode_plus([words, pair, words + pair], **options),
            theirs([words, pair, words + pair], **options),
        )
        assert ours.encode(words, is_split_into_words=True) == ours.encode(TEXT)
    same(ours(words, is_split_into_words=True), theirs(words, is_split_into_words=True))


@pytest.mark.parametrize("padding", [False, True, "longest", "max_length"])
@pytest.mark.parametrize("truncation", [False, True, "longest_first", "only_first", "only_second"])
def test_the_models_length_bounds_a_row_where_none_is_given(padding: Any, truncation: Any, context: Both) -> None:
    long = " ".join([TEXT] * 20)
    for tokenizer in context:
        tokenizer.model_max_length = 100
    options = {"padding": padding, "truncation": truncation}
    texts = (PAIR, long) if truncation == "only_second" else (long, PAIR)
    same(context.ours(*texts, **options), context.theirs(*texts, **options))
    same(context.ours(*([text] for text in texts), **options), context.theirs(*([text] for text in texts), **options))
    assert (len(context.ours(*texts, **options).input_ids) == 100) == bool(truncation)
    assert context.ours.max_len_single_sentence == context.theirs.max_len_single_sentence == 98
    assert context.ours.max_len_sentences_pair == context.theirs.max_len_sentences_pair == 97


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_row_is_padded_on_the_side_that_is_set_or_named(side: str, both: Both) -> None:
    plain = both.ours.encode("Who wrote?")
    padding = [both.ours.pad_token_id] * 10
    for tokenizer in both:
        tokenizer.padding_side = side
        assert tokenizer.encode("Who wrote?", padding=True) == tokenizer.encode("Who wrote?", padding=False) == plain
        padded = tokenizer.encode("Who wrote?", max_length=len(plain) + 10, padding="max_length")
        assert padded == (plain + padding if side == "right" else padding + plain)
        tokenizer.padding_side = "right" if side == "left" else "left"
    options = {"max_length": 20, "padding": "max_length", "padding_side": side, **EVERYTHING}
    same(both.ours.encode_plus(TEXT[:20], **options), both.theirs(TEXT[:20], **options))
    same(both.ours.batch_encode_plus(TEXTS, **options), both.theirs(TEXTS, **options))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_row_is_cut_on_the_side_that_is_set(side: str, context: Both) -> None:
    for tokenizer in context:
        tokenizer.truncation_side = side
    ids = context.ours.encode(TEXT, add_special_tokens=False)
    cut = context.ours.encode(TEXT, max_length=len(ids) - 3, truncation=True, add_special_tokens=False)
    assert cut == (ids[:-3] if side == "right" else ids[3:])
    assert context.ours.encode(TEXT, truncation=True, add_special_tokens=False) == ids
    for strategy in ("longest_first", "only_first", "only_second"):
        options = {"truncation": strategy, "max_length": 30, **EVERYTHING}
        same(context.ours(TEXT, PAIR, **options), context.theirs(TEXT, PAIR, **options))


def test_sides_are_taken_when_loading_and_an_unknown_one_is_refused(vocabulary: Path) -> None:
    for name in ("padding_side", "truncation_side"):
        for side in ("left", "right"):
            assert getattr(DPRReaderTokenizer.from_pretrained(vocabulary, **{name: side}), name) == side
        with pytest.raises(ValueError, match=f"{name} is 'unauthorized', but must be"):
            DPRReaderTokenizer.from_pretrained(vocabulary, **{name: "unauthorized"})


def test_rows_are_padded_to_a_multiple(both: Both) -> None:
    ours, theirs = both
    for text in ("", TEXT):
        for options in ({}, {"padding": True}, {"padding": True, "truncation": True}):
            options |= {"pad_to_multiple_of": 8}
            same(ours.encode_plus(text, **options), theirs(text, **options))
    with pytest.raises(ValueError, match="max_length is 12, but must be a multiple of 8"):
        ours.encode_plus(TEXT, padding=True, truncation=True, max_length=12, pad_to_multiple_of=8)


def test_encoded_rows_are_padded_afterwards(both: Both) -> None:
    ours, theirs = both
    features = [{"input_ids": [1, 2, 3, 4], "attention_mask": [1, 1, 1, 0]}, {"input_ids": [1], "attention_mask": [0]}]
    same(ours.pad(features), theirs.pad(features))
    rows = ours.batch_encode_plus(TEXTS)
    for options in ({}, {"padding": "max_length", "max_length": 50}, {"padding": "longest", "return_tensors": "np"}):
        same(ours.pad(rows, verbose=False, **options), theirs.pad(dict(rows), verbose=False, **options))
        same(ours.pad(ours.encode_plus(TEXT), **options), theirs.pad(dict(theirs(TEXT)), **options))
    empty = {"input_ids": [[], []]}
    options = {"padding": "max_length", "max_length": 5}
    same(ours.pad(empty, **options), theirs.pad(dict(empty), **options))


def test_what_asks_for_token_types_gets_them(both: Both) -> None:
    for asked in (True, False, None):
        options = {"return_token_type_ids": asked}
        same(both.ours.encode_plus(TEXT, PAIR, **options), both.theirs(TEXT, PAIR, **options))
    assert both.ours.model_input_names[0] == both.theirs.model_input_names[0] == "input_ids"


def test_special_tokens_are_counted_masked_and_built_around_ids(both: Both, vocabulary: Path) -> None:
    ours = both.ours
    legacy = BertTokenizerLegacy(str(vocabulary / "vocab.txt"))
    for text, pair in product(TEXTS, [None, "", PAIR]):
        bare = [ours.encode(each, add_special_tokens=False) for each in (text, pair) if each is not None]
        for verb in (
            "build_inputs_with_special_tokens",
            "create_token_type_ids_from_sequences",
            "get_special_tokens_mask",
        ):
            assert getattr(ours, verb)(*bare) == getattr(legacy, verb)(*bare), verb
        row = ours.build_inputs_with_special_tokens(*bare)
        assert len(row) == sum(map(len, bare)) + ours.num_special_tokens_to_add(pair is not None)
        if pair != "":  # beside a single text an empty one counts as none
            encoded = ours.encode_plus(text, pair, return_special_tokens_mask=True, return_token_type_ids=True)
            assert encoded.input_ids == row
            assert encoded.token_type_ids == ours.create_token_type_ids_from_sequences(*bare)
            assert encoded.special_tokens_mask == ours.get_special_tokens_mask(*bare)
        known = both.theirs.get_special_tokens_mask(row, already_has_special_tokens=True)
        assert ours.get_special_tokens_mask(row, already_has_special_tokens=True) == known
    with pytest.raises(ValueError, match="token_ids_1 must be None"):
        ours.get_special_tokens_mask([2], [3], already_has_special_tokens=True)


def test_every_token_of_the_vocabulary_has_an_id_and_back(both: Both) -> None:
    ours, vocab = both.ours, both.theirs.get_vocab()
    assert ours.get_vocab() == ours.vocab == vocab
    assert (len(ours), ours.vocab_size) == (len(both.theirs), both.theirs.vocab_size)
    for token, number in vocab.items():
        assert ours.convert_tokens_to_ids(token) == number
        assert ours.convert_ids_to_tokens(number) == token
    assert ours.convert_ids_to_tokens(list(range(len(ours)))) == sorted(vocab, key=vocab.__getitem__)


@pytest.mark.parametrize("return_tensors", ["np", "pt"])
def test_an_empty_text_is_a_row_of_integers(return_tensors: str, both: Both) -> None:
    same(both.ours("", return_tensors=return_tensors), both.theirs("", return_tensors=return_tensors))
    assert both.ours("", return_tensors="np").input_ids.dtype == np.int64


@pytest.mark.parametrize("return_tensors", ["tf", "jax", "mlx", "torch"])
def test_tensors_of_another_library_are_refused(return_tensors: str, both: Both) -> None:
    """Mended: transformers names a class of its own, or a library to install."""
    with pytest.raises(ValueError, match=f'return_tensors is \'{return_tensors}\', but must be "np", "pt" or None'):
        both.ours(TEXT, return_tensors=return_tensors)


def test_offsets_are_those_of_the_text_as_given(both: Both) -> None:
    for text in ("A, na\u00efve [MASK] AllenNLP sentence.", TEXT, *TEXTS):
        encoded = both.ours.encode_plus(text, PAIR, return_offsets_mapping=True, return_special_tokens_mask=True)
        same(encoded, both.theirs(text, PAIR, return_offsets_mapping=True, return_special_tokens_mask=True))
        assert len(encoded.offset_mapping) == len(encoded.input_ids)


def test_a_text_and_its_special_tokens_are_encoded_apart_and_together(both: Both) -> None:
    for text in ("", " ", TEXT):
        alone, whole = (both.ours.tokenize(text, add_special_tokens=special) for special in (False, True))
        assert whole == ["[CLS]", *alone, "[SEP]"]
        options = {"add_special_tokens": True, "max_length": 9, "truncation": True}
        assert both.ours.tokenize(text, PAIR, **options) == both.theirs(text, PAIR, **options).tokens()


def test_special_tokens_in_a_text_are_split_where_that_is_asked_for(both: Both) -> None:
    ours, theirs = both
    for text in ("[SEP]", "who [SEP] wrote [PAD]x[MASK]", TEXT):
        for split in (True, False, True):
            options = {"split_special_tokens": split}
            assert ours.tokenize(text, **options) == theirs.tokenize(text, **options)
            same(ours.encode_plus(text, PAIR, **options), theirs(text, PAIR, **options))
    assert ours.sep_token_id not in ours.encode("[SEP]", add_special_tokens=False, split_special_tokens=True)
    for tokenizer in both:
        tokenizer.add_tokens(["[HERE]"], special_tokens=True)
        tokenizer.add_tokens(["playwright"])
    for split, expected in ((False, ["who", "[HERE]", "playwright"]), (True, ["who", "[UNK]", "playwright"])):
        found = ours.tokenize("who [HERE] playwright", split_special_tokens=split)
        assert found == theirs.tokenize("who [HERE] playwright", split_special_tokens=split)
        assert [found[0], found[1], found[-1]] == expected


def test_a_reader_takes_a_questions_options_but_not_with_passages(vocabulary: Path) -> None:
    """Mended: transformers forgets them where there are three strings."""
    ours = DPRReaderTokenizer.from_pretrained(vocabulary)
    theirs = transformers.DPRReaderTokenizerFast.from_pretrained(vocabulary)
    for options in ({"return_token_type_ids": True}, {"add_special_tokens": False}, EVERYTHING):
        same(ours(TEXT, **options), theirs(TEXT, **options))
        same(ours(TEXT, titles=PAIR, **options), theirs(TEXT, titles=PAIR, **options))
        with pytest.raises(TypeError, match=f"with titles and texts the call takes no {next(iter(options))}"):
            ours(TEXT, ["a"], ["b"], **options)


def test_a_passage_is_question_title_and_text(vocabulary: Path) -> None:
    ours = DPRReaderTokenizer.from_pretrained(vocabulary)
    question, title, text = (ours.encode(each, add_special_tokens=False) for each in ("Who wrote", "Hamlet", PAIR))
    encoded = ours(questions=["Who wrote"], titles=["Hamlet"], texts=[PAIR])
    cls, sep = ours.cls_token_id, ours.sep_token_id
    assert encoded["input_ids"] == [[cls, *question, sep, *title, sep, *text]]
    assert encoded["attention_mask"] == [[1] * len(encoded["input_ids"][0])]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_the_span_with_the_best_logits_is_decoded(kind: Any, vocabulary: Path) -> None:
    ours = DPRReaderTokenizer.from_pretrained(vocabulary)
    theirs = transformers.DPRReaderTokenizerFast.from_pretrained(vocabulary)
    encoded = ours("who wrote", "hamlet", "the play is a test of words", return_tensors="np")
    logits = [[0.0] * encoded.input_ids.shape[1] for _ in range(2)]
    logits[0][8] = logits[1][9] = 10.0
    output = DPRReaderOutput(*(kind([row]) for row in logits), kind([0.0]))
    spans = ours.decode_best_spans(encoded, output)
    assert (spans[0].start_index, spans[0].end_index, spans[0].doc_id, spans[0].text) == (8, 9, 0, "is a")
    for mine, expected in zip(spans, theirs.decode_best_spans(encoded, output), strict=True):
        assert tuple(mine) == tuple(expected)
