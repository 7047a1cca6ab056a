"""Small tokenizers of RoBERTa's family, trained here: byte-level BPE, and the SentencePiece models of two others."""

import io
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import transformers

TEXTS = [
    "Der Zug nach München fährt um halb acht ab, und die Straße ist schon voller Menschen.",
    "Wer schrieb das Buch über die Geschichte der Übersetzung?",
    "Le château fut construit au XVIIe siècle par un architecte français.",
    "Où est né l'auteur de ce roman célèbre ?",
    "L'été dernier, nous avons visité la cathédrale de Reims et ses vitraux.",
    "대한민국의 수도는 서울이며 한강이 도시를 가로질러 흐른다.",
    "세종대왕은 한글을 만든 조선의 임금이다.",
    "누가 이 책을 썼습니까?",
    "北京是中华人民共和国的首都,也是全国的政治和文化中心。",
    "谁写了这部小说?作者是一位著名的科学家。",
    "El río Amazonas atraviesa Perú, Colombia y Brasil antes de llegar al océano.",
    "¿Quién escribió la novela más famosa de España?",
    "La niña comió una manzana y después jugó en el jardín.",
    "The passage retrieval model encodes questions and passages into one vector space.",
    "Who wrote the play Hamlet, and when was it performed for the first time?",
    "It's a long way from the mountains to the sea, isn't it?",
    "In 1969 two men walked on the Moon while 600 million people watched.",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CLASSES = {"roberta": "RobertaTokenizer", "xlm-roberta": "XLMRobertaTokenizer", "camembert": "CamembertTokenizer"}


def train(name: str, folder: Path) -> Path:
    """Write the vocabulary files that a checkpoint of this name has without tokenizer.json."""
    folder.mkdir()
    if name == "roberta":
        backend = tokenizers.ByteLevelBPETokenizer()
        backend.train_from_iterator(TEXTS, vocab_size=600, special_tokens=SPECIAL, show_progress=False)
        backend.save_model(str(folder))
    else:
        model = io.BytesIO()
        options: dict[str, Any] = {"vocab_size": 500, "hard_vocab_limit": False, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS), model_writer=model, **options)
        (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    return folder


def convert(name: str, folder: Path, target: Path, **options: Any) -> Path:
    """Write tokenizer.json and tokenizer_config.json as transformers does."""
    getattr(transformers, CLASSES[name]).from_pretrained(folder, model_max_length=512, **options).save_pretrained(
        target
    )
    return target
