"""The tokenizers of RoBERTa's family against transformers' own; which rows and classes are read, and which refused."""

import json
import pickle
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

from dpr_export.models.tokenization.encoder_tokenizers import BertTokenizer, DPRContextEncoderTokenizer
from dpr_export.models.tokenization.reader_tokenizer import DPRReaderTokenizer
from dpr_export.models.tokenization.row_templates import BERT, ROBERTA
from tests.from_transformers.test_words_as_tested_there import row_knowledge
from tests.models.roberta import CLASSES, SPECIAL, TEXTS, convert, train

NAMES = list(CLASSES)
COLUMNS = {"return_token_type_ids": True, "return_special_tokens_mask": True, "return_offsets_mapping": True}
ODD = [
    *("<s>", "</s>", "<mask>", "<pad>", "<unk>", "a<s>b", "qui <mask> a", "<mask><mask>", " <mask>", "</s></s> x <s>"),
    *("  Zug", "Zug  ", "\tLe château\n", "a  b   c", "\u00a0né\u00a0", "서울\u3000한강", "e\u0301te\u0301", "\u0301"),
    *(
        "Où",
        "Ou\u0300",
        "한글",
        "\u1112\u1161\u11ab",
        "😀 👍🏽",
        "👩‍👩‍👧 famille",
        "𠀀 漢字",
        "ﬁn ½ ①",
        "▁",
        "▁a ▁",
        "Ġa",
    ),
    *("<S>", "< s >", "[SEP] [CLS]", "\u200b", "\ufeffbom", "don't", "l'été", "¿Qué?", "。", "x" * 300, "<s>NOTUSED"),
]


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    return {name: train(name, root / name) for name in NAMES}


@pytest.fixture(scope="session")
def checkpoints(raw: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: convert(name, raw[name], root / name) for name in NAMES}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ours(name: str, checkpoints: dict[str, Path]) -> Any:
    return DPRContextEncoderTokenizer.from_pretrained(checkpoints[name])


@pytest.fixture
def theirs(name: str, checkpoints: dict[str, Path]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(checkpoints[name])


@pytest.fixture(scope="session")
def texts(strings: list[str]) -> list[str]:
    words = [word for text in TEXTS for word in text.split()]
    mixed = [" ".join(words[first::step]) for step in (3, 7, 11) for first in range(40)]
    return [*TEXTS, *ODD, *mixed, *strings[:500]]


def test_texts_and_pairs_are_encoded_as_in_transformers(texts: list[str], ours: Any, theirs: Any) -> None:
    for rows in ((texts,), (texts, texts[::-1])):
        expected, encoded = theirs(*rows, **COLUMNS), ours(*rows, **COLUMNS)
        assert set(encoded) == set(expected)
        for column in expected:
            assert encoded[column] == expected[column], column
    for text in texts[:80]:
        assert ours.encode(text, "Où est né l'auteur") == theirs.encode(text, "Où est né l'auteur")
        assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.mark.parametrize("family", NAMES)
@settings(max_examples=100, deadline=None)
@given(text=st.text(), pair=st.text())
def test_any_text_is_encoded_as_in_transformers(
    family: str, text: str, pair: str, checkpoints: dict[str, Path]
) -> None:
    key = str(checkpoints[family])
    mine = LOADED.setdefault((key, 0), DPRContextEncoderTokenizer.from_pretrained(key))
    reference = LOADED.setdefault((key, 1), transformers.AutoTokenizer.from_pretrained(key))
    for rows in ((text,), ([text], [pair])):
        encoded = mine(*rows, **COLUMNS)
        expected = reference(*rows, **COLUMNS)
        assert {column: encoded[column] for column in expected} == dict(expected)


LOADED: dict[tuple[str, int], Any] = {}


def test_a_row_is_laid_out_as_robertas(ours: Any) -> None:
    single, pair = ours("Le château"), ours("Le château", "est né")
    le, ne = ours.tokenize("Le château"), ours.tokenize("est né")
    assert ours.convert_ids_to_tokens(single.input_ids) == single.tokens() == ["<s>", *le, "</s>"]
    assert ours.convert_ids_to_tokens(pair.input_ids) == pair.tokens() == ["<s>", *le, "</s>", "</s>", *ne, "</s>"]
    assert list(pair) == ["input_ids", "token_type_ids", "attention_mask"]
    assert pair.token_type_ids == pair[0].type_ids == [0] * len(pair.input_ids)
    assert (ours.num_special_tokens_to_add(), ours.num_special_tokens_to_add(pair=True)) == (2, 4)
    assert (ours.max_len_single_sentence, ours.max_len_sentences_pair) == (510, 508)
    ids = [ours.encode(text, add_special_tokens=False) for text in ("Le château", "est né")]
    for given_ids, row in ((ids[:1], single), (ids, pair)):
        assert ours.build_inputs_with_special_tokens(*given_ids) == row.input_ids
        assert ours.create_token_type_ids_from_sequences(*given_ids) == row.token_type_ids
        whole = ours.get_special_tokens_mask(row.input_ids, already_has_special_tokens=True)
        assert ours.get_special_tokens_mask(*given_ids) == row[0].special_tokens_mask == whole


@pytest.mark.parametrize("strategy", [True, "only_first", "only_second"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_truncated_as_in_transformers(
    side: str, strategy: Any, texts: list[str], ours: Any, theirs: Any
) -> None:
    ours.truncation_side = theirs.truncation_side = side
    long = [text for text in texts if len(ours.tokenize(text)) > 12][:100]
    assert len(long) == 100
    for first, second in zip(long, long[::-1], strict=True):
        rows = ((first, "Où ?"), (first, second)) if strategy is not True else ((first,), (first, second))
        rows = tuple(row[::-1] for row in rows) if strategy == "only_second" else rows
        for row in rows:
            lengths = [len(ours.tokenize(text)) for text in row]
            whole = {"only_first": lengths[-1], "only_second": lengths[0]}.get(strategy, 0)
            options = {"truncation": strategy, "max_length": whole + 14, **COLUMNS}
            encoded, expected = ours(*row, **options), theirs(*row, **options)
            assert {column: encoded[column] for column in expected} == dict(expected)


@pytest.mark.parametrize("stride", [0, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_is_cut_off_makes_further_rows_as_in_transformers(
    side: str, stride: int, texts: list[str], ours: Any, theirs: Any
) -> None:
    ours.truncation_side = theirs.truncation_side = side
    for strategy, pair in product((True, "only_first"), (None, "né")):
        options = {"truncation": strategy, "stride": stride, "max_length": 24, "padding": True, **COLUMNS}
        rows = texts[:60] if pair is None else list(zip(texts[:60], [pair] * 60, strict=True))
        encoded = ours.batch_encode_plus(rows, return_overflowing_tokens=True, **options)
        expected = theirs(texts[:60], pair and [pair] * 60, return_overflowing_tokens=True, **options)
        assert len(encoded.input_ids) > 80
        assert {column: encoded[column] for column in expected} == dict(expected)
        for row in range(0, 80, 3):
            assert row_knowledge(encoded, row) == row_knowledge(expected, row)


def test_words_and_characters_are_found_as_in_transformers(ours: Any, theirs: Any) -> None:
    rows = [*TEXTS, *ODD, "  Zug  nach <mask> München "]
    for pair in (None, ["  Où est né "] * len(rows)):
        encoded, expected = ours(rows, pair), theirs(rows, pair)
        for row in range(len(rows)):
            assert row_knowledge(encoded, row) == row_knowledge(expected, row)
            for attribute in ("ids", "tokens", "type_ids", "special_tokens_mask", "offsets", "word_ids"):
                assert getattr(encoded[row], attribute) == getattr(expected[row], attribute), attribute


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_padded_as_in_transformers(side: str, texts: list[str], ours: Any, theirs: Any) -> None:
    options = {"padding": True, "padding_side": side, "truncation": True, "max_length": 64, **COLUMNS}
    expected = theirs(texts, return_tensors="np", **options)
    encoded = ours(texts, return_tensors="np", **options)
    for column in expected:
        assert np.array_equal(encoded[column], expected[column]), column
    rows = [dict(theirs(text)) for text in texts[:50]]
    assert dict(ours.pad(rows, padding_side=side)) == dict(theirs.pad(rows, padding_side=side))


@pytest.mark.parametrize("skip", [True, False])
def test_rows_are_decoded_as_in_transformers(skip: bool, texts: list[str], ours: Any, theirs: Any) -> None:
    rows = theirs(texts, texts[::-1])["input_ids"]
    expected = theirs.batch_decode(rows, skip_special_tokens=skip)
    assert ours.batch_decode(rows, skip_special_tokens=skip) == expected
    assert [ours.decode(row, skip_special_tokens=skip) for row in rows[:50]] == expected[:50]
    for text in texts[:50]:
        assert ours.convert_tokens_to_string(ours.tokenize(text)) == theirs.convert_tokens_to_string(
            theirs.tokenize(text)
        )


def test_the_small_verbs_agree_with_transformers(ours: Any, theirs: Any) -> None:
    for token in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        for attribute in (token, f"{token}_id"):
            assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    for attribute in ("special_tokens_map", "vocab_size", "model_max_length", "padding_side", "all_special_ids"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.convert_tokens_to_ids(["</s>", "nonsense!"]) == theirs.convert_tokens_to_ids(["</s>", "nonsense!"])
    assert ours.do_lower_case is False
    again = pickle.loads(pickle.dumps(ours))
    assert dict(again(TEXTS, TEXTS)) == dict(ours(TEXTS, TEXTS))


def test_a_saved_tokenizer_is_read_by_us_and_by_transformers(texts: list[str], ours: Any, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path / "new")
    expected = {rows: dict(ours(texts, pairs, **COLUMNS)) for rows, pairs in ((1, None), (2, texts[::-1]))}
    again = DPRContextEncoderTokenizer.from_pretrained(tmp_path / "new")
    again.save_pretrained(tmp_path / "again")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "new" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    config = json.loads((tmp_path / "new" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"do_lower_case", "strip_accents", "tokenize_chinese_chars"} & config.keys()
    shutil.copy(tmp_path / "new" / "tokenizer_config.json", tmp_path / "again")
    (tmp_path / "new" / "config.json").write_text(json.dumps({"model_type": "dpr", "architectures": ["DPRReader"]}))
    for load in (DPRContextEncoderTokenizer, transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        read = load.from_pretrained(tmp_path / "new")
        for rows, pairs in ((1, None), (2, texts[::-1])):
            encoded = read(texts, pairs, **COLUMNS)
            assert {column: encoded[column] for column in expected[rows]} == expected[rows]
        assert read.special_tokens_map == ours.special_tokens_map
        assert read.model_max_length == 512


def test_special_tokens_are_set_added_and_named(ours: Any, theirs: Any, tmp_path: Path) -> None:
    for tokenizer in (ours, theirs):
        assert tokenizer.add_special_tokens({"mask_token": AddedToken("[HIDE]", lstrip=True)}) == 1
        assert tokenizer.add_special_tokens({"bos_token": "[BOS]"}) == 1
    texts = ["a  [HIDE] [BOS]b", "<mask>"]
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]
    assert ours.special_tokens_map == theirs.special_tokens_map
    with pytest.raises(
        ValueError, match="'cls' is no special token of RoBERTa's rows: bos_token, eos_token, unk_token"
    ):
        ours.add_special_tokens({"cls": "[CLS]"})
    ours.cls_token, ours.sep_token = "<mask>", "<unk>"
    assert ours("a", "b").tokens() == ["<mask>", *ours.tokenize("a"), "<unk>", "<unk>", *ours.tokenize("b"), "<unk>"]
    ours.save_pretrained(tmp_path)
    again = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for read in (again, reference):
        assert read("a b", " c ", **COLUMNS)["input_ids"] == ours("a b", " c ")["input_ids"]
        assert read("a b", " c ", **COLUMNS)["offset_mapping"] == ours("a b", " c ", **COLUMNS)["offset_mapping"]


def test_special_tokens_that_no_file_names_are_robertas(
    name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(checkpoints[name] / "tokenizer.json", tmp_path)
    mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    assert mine.special_tokens_map == dict(ROBERTA.special_tokens)
    assert mine.template is ROBERTA
    assert mine.encode(TEXTS[0]) == DPRContextEncoderTokenizer.from_pretrained(checkpoints[name]).encode(TEXTS[0])


def test_tokenizing_needs_neither_transformers_nor_sentencepiece(checkpoints: dict[str, Path]) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sentencepiece', 'google.protobuf'): sys.modules[name] = None\n"
        "from dpr_export.models.tokenization.encoder_tokenizers import DPRQuestionEncoderTokenizer as T\n"
        "for folder in sys.argv[1:]: print(len(T.from_pretrained(folder)('Où est né', 'Zug')['input_ids']) > 5)"
    )
    command = [sys.executable, "-c", program, *map(str, checkpoints.values())]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "True\n" * 3


def rewrite(folder: Path, target: Path, **config: Any) -> Path:
    """Copy a checkpoint's tokenizer, and change its tokenizer_config.json."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | config), encoding="utf-8")
    return target


def set_processor(folder: Path, processor: Any) -> None:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = processor
    backend.save(str(folder / "tokenizer.json"))


ENDS = [("<s>", 0), ("</s>", 2)]
ROWS = {"single": "<s> $A </s>", "special_tokens": ENDS}


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (
            processors.TemplateProcessing(pair="<s> $A </s> $B </s>", **ROWS),
            r'with "<s>:0 \$A:0 </s>:0" and "<s>:0 \$A:0 </s>:0 \$B:0 </s>:0", but the row of a pair must be',
        ),
        (processors.TemplateProcessing(pair="<s> $A </s> </s> $B:1 </s>:1", **ROWS), r"\$B:1 </s>:1"),
        (processors.TemplateProcessing(pair="<s> $B </s> </s> $A </s>", **ROWS), r"<s>:0 \$B:0"),
        (
            processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=ENDS),
            r'"\$A:0 </s>:0',
        ),
        (processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[]), r'"\$A:0" and "\$A:0 \$B:0"'),
        (processors.ByteLevel(), "post_processor in tokenizer.json is ByteLevel, but the row of a pair must be"),
        (processors.Sequence([processors.ByteLevel()]), "is Sequence, but"),
        (None, "post_processor in tokenizer.json is null, but the row of a pair must be"),
    ],
)
def test_rows_of_another_layout_are_refused_and_shown(
    processor: Any, message: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = rewrite(checkpoints["xlm-roberta"], tmp_path)
    backend = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    backend["post_processor"] = processor and json.loads(processor.__getstate__())
    (folder / "tokenizer.json").write_text(json.dumps(backend), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        DPRContextEncoderTokenizer.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_the_readers_rows_are_berts(name: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="the reader's rows are BERT's, but this tokenizer makes RoBERTa's"):
        DPRReaderTokenizer.from_pretrained(checkpoints[name])


def test_the_older_processors_of_both_families_are_read(
    checkpoints: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = rewrite(checkpoints["xlm-roberta"], tmp_path / "roberta")
    set_processor(folder, processors.RobertaProcessing(("</s>", 2), ("<s>", 0), False, False))
    mine, expected = (DPRContextEncoderTokenizer.from_pretrained(path) for path in (folder, checkpoints["xlm-roberta"]))
    assert dict(mine(TEXTS, TEXTS)) == dict(expected(TEXTS, TEXTS))
    shutil.copytree(folders["uncased"], tmp_path / "bert")
    set_processor(tmp_path / "bert", processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101)))
    mine, expected = (BertTokenizer.from_pretrained(path) for path in (tmp_path / "bert", folders["uncased"]))
    assert mine.template is BERT
    assert dict(mine(TEXTS, TEXTS)) == dict(expected(TEXTS, TEXTS))


@pytest.mark.parametrize("name", ["cls_token", "sep_token"])
def test_special_tokens_other_than_the_rows_are_refused(
    name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = rewrite(checkpoints["camembert"], tmp_path, **{name: "<mask>"})
    with pytest.raises(ValueError, match=f"{name} is '<mask>', but rows in .*tokenizer.json have '</?s>' in its place"):
        DPRContextEncoderTokenizer.from_pretrained(folder)
    assert DPRContextEncoderTokenizer.from_pretrained(folder, **{name: "<unk>"})("a").tokens().count("<unk>") == 1


def test_options_of_berts_normalizer_have_no_effect(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """As in transformers; asked for by keyword, they are refused."""
    folder = rewrite(checkpoints[name], tmp_path, do_lower_case=True, strip_accents=True)
    mine, expected = (DPRContextEncoderTokenizer.from_pretrained(path) for path in (folder, checkpoints[name]))
    assert dict(mine(TEXTS)) == dict(expected(TEXTS)) == dict(mine(TEXTS))
    assert mine.encode("ÉTÉ") != mine.encode("ete")
    with pytest.raises(ValueError, match="do_lower_case is an option of BERT's normalizer, which this tokenizer does"):
        DPRContextEncoderTokenizer.from_pretrained(folder, do_lower_case=True)


@pytest.mark.parametrize("value", [True, False, None])
@pytest.mark.parametrize("trained", [True, False])
def test_a_byte_level_tokenizer_begins_with_a_space_where_transformers_does(
    value: bool | None, trained: bool, raw: dict[str, Path], texts: list[str], tmp_path: Path
) -> None:
    folder = convert("roberta", raw["roberta"], tmp_path, add_prefix_space=trained)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("add_prefix_space")
    config |= {} if value is None else {"add_prefix_space": value}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    mine = DPRContextEncoderTokenizer.from_pretrained(folder)
    reference = transformers.RobertaTokenizer.from_pretrained(folder)
    for _ in range(2):
        encoded, expected = mine(texts, **COLUMNS), reference(texts, **COLUMNS)
        assert {column: encoded[column] for column in expected} == dict(expected)
        mine.save_pretrained(tmp_path / "saved")
        mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path / "saved")


# What transformers 4.57 and 5 write for tokenizers that are read, each with the checkpoint that it fits.
READ = {
    **dict.fromkeys(["DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizerFast", "DPRReaderTokenizer"], "uncased"),
    **dict.fromkeys(
        ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"], "uncased"
    ),
    **dict.fromkeys(["RobertaTokenizer", "RobertaTokenizerFast"], "roberta"),
    **dict.fromkeys(["XLMRobertaTokenizer", "XLMRobertaTokenizerFast"], "xlm-roberta"),
    **dict.fromkeys(["CamembertTokenizer", "CamembertTokenizerFast"], "camembert"),
    **dict.fromkeys(["PreTrainedTokenizerFast", "TokenizersBackend"], "camembert"),
}


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("class_name", [*READ, None])
def test_the_known_classes_are_read(
    class_name: str | None, file: str, checkpoints: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    source = {**folders, **checkpoints}[READ.get(class_name or "", "uncased")]
    shutil.copy(source / "tokenizer.json", tmp_path)
    (tmp_path / file).write_text(json.dumps({"tokenizer_class": class_name}), encoding="utf-8")
    mine, expected = (DPRContextEncoderTokenizer.from_pretrained(path) for path in (tmp_path, source))
    assert dict(mine(TEXTS, TEXTS)) == dict(expected(TEXTS, TEXTS))


JAPANESE = r"Japanese word tokenizers \(MeCab\) are not available at run time"


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, f"tokenizer_class is 'BertJapaneseTokenizer': {JAPANESE}"),
        ({"tokenizer_class": "MPNetTokenizerFast"}, "tokenizer_class is 'MPNetTokenizerFast', but must be one of DPRQ"),
        ({"tokenizer_class": "T5Tokenizer"}, "tokenizer_class is 'T5Tokenizer', but must be one of"),
        ({"tokenizer_class": "BertTokenizerFastFast"}, "tokenizer_class is 'BertTokenizerFastFast'"),
        ({"tokenizer_class": 5}, "tokenizer_class is 5, but must be one of"),
        ({"tokenizer_class": "RobertaTokenizer"}, "tokenizer_class is 'RobertaTokenizer', but .* makes BERT's rows"),
    ],
)
def test_other_classes_are_refused_by_name(
    config: dict[str, Any], message: str, file: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    for source in ("vocab.txt", "tokenizer.json"):
        (tmp_path / source).mkdir()
        shutil.copy(folders["uncased"] / source, tmp_path / source)
        (tmp_path / source / file).write_text(json.dumps(config), encoding="utf-8")
        with pytest.raises(ValueError, match=message) as error:
            DPRContextEncoderTokenizer.from_pretrained(tmp_path / source)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"word_tokenizer_type": "mecab"}, f"word_tokenizer_type is 'mecab': {JAPANESE}"),
        ({"subword_tokenizer_type": "character"}, f"subword_tokenizer_type is 'character': {JAPANESE}"),
        (
            {"do_basic_tokenize": False},
            "do_basic_tokenize is False in the tokenizer's files, but only True can be read",
        ),
        ({"never_split": ["U.S."]}, r"never_split is \['U.S.'\] in the tokenizer's files, but only \[\] can be read"),
        ({"split_special_tokens": True}, "split_special_tokens is True in the tokenizer's files"),
    ],
)
def test_options_that_would_be_lost_are_refused(
    config: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(folders["uncased"] / "vocab.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
    with pytest.raises(ValueError, match=message):
        DPRContextEncoderTokenizer.from_pretrained(tmp_path)


def test_options_that_change_nothing_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["uncased"] / "vocab.txt", tmp_path)
    config = {"do_basic_tokenize": True, "never_split": None, "split_special_tokens": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "word_tokenizer_type": None}))
    assert BertTokenizer.from_pretrained(tmp_path).tokenize("Who") == ["who"]


@pytest.mark.parametrize("class_name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize("change", ["cased", "accents", "none", "own", "split"])
def test_a_class_that_only_holds_tokenizer_json_keeps_it(
    class_name: str, change: str, folders: dict[str, Path], strings: list[str], tmp_path: Path
) -> None:
    """DPR's own classes override the normalizer by do_lower_case, which is true where no file has it."""
    backend = Tokenizer.from_file(str(folders["uncased"] / "tokenizer.json"))
    if change == "split":
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        backend.normalizer = {
            "cased": normalizers.BertNormalizer(lowercase=False),
            "accents": normalizers.BertNormalizer(lowercase=True, strip_accents=False, handle_chinese_chars=False),
            "own": normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
        }.get(change)
    backend.save(str(tmp_path / "tokenizer.json"))
    config = {**BERT.special_tokens, "tokenizer_class": class_name}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    mine = DPRContextEncoderTokenizer.from_pretrained(tmp_path)
    mine.save_pretrained(tmp_path / "saved")
    some = [*TEXTS, *strings[:400]]
    expected = dict(mine(some, some[::-1]))
    load_saved = transformers.AutoTokenizer if change in ("none", "own", "split") else transformers.BertTokenizer
    for folder, load in ((tmp_path, transformers.AutoTokenizer), (tmp_path / "saved", load_saved)):
        assert dict(DPRContextEncoderTokenizer.from_pretrained(folder)(some, some[::-1])) == expected
        reference = load.from_pretrained(folder)
        assert dict(reference(some, some[::-1], return_token_type_ids=True)) == expected
    if change == "cased":
        assert mine.do_lower_case is False
        assert DPRContextEncoderTokenizer.from_pretrained(tmp_path, do_lower_case=True).tokenize("Who") == ["who"]


def test_the_special_tokens_of_the_small_vocabularies_are_where_the_tests_think(checkpoints: dict[str, Path]) -> None:
    for folder in checkpoints.values():
        mine = DPRContextEncoderTokenizer.from_pretrained(folder)
        assert [mine.convert_ids_to_tokens(mine.convert_tokens_to_ids(token)) for token in SPECIAL] == SPECIAL
