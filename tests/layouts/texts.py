"""The texts that tokenizers are trained on and that both sides read: six languages, and what breaks tokenizers."""

import unicodedata
from itertools import cycle, islice

SENTENCES = {
    "de": [
        "Wer schrieb den Faust, und wann wurde er uraufgeführt?",
        "Die Hauptstadt von Österreich ist Wien; die Donau fließt hindurch.",
        "Größe, Maß und Fußgängerübergänge: ß wird zu SS.",
        "Das Straßenbahnnetz wurde 1897 elektrifiziert.",
        "Im Jahr 2021 lebten dort 83,2 Millionen Menschen.",
        "Übermäßig lange Wörter wie Donaudampfschifffahrtsgesellschaft kommen vor.",
    ],
    "fr": [
        "Qui a écrit « Les Misérables » ?",
        "L'été dernier, j'ai visité l'île d'Oléron avec mes élèves.",
        "Où se trouve la cathédrale Notre-Dame de Reims ?",
        "Aujourd'hui, c'est l'anniversaire de la bataille d'Austerlitz.",
        "Le cœur de l'œuvre a été traduit en vingt langues.",
        "Ça coûte 12 € à Noël, n'est-ce pas ?",
    ],
    "ko": [
        "한국의 수도는 어디입니까?",
        "세종대왕은 1443년에 훈민정음을 만들었다.",
        "김치는 배추와 무로 만드는 한국 음식이다.",
        "서울에서 부산까지 기차로 두 시간 반이 걸린다.",
        "이순신 장군은 명량 해전에서 승리하였다.",
        "제주도는 대한민국에서 가장 큰 섬이다.",
    ],
    "zh": [
        "中国的首都是哪里?",
        "长江是亚洲最长的河流,全长约6300公里。",
        "《红楼梦》的作者是曹雪芹。",
        "北京大学创办于1898年,位于海淀区。",
        "臺灣最高的山是玉山,海拔三千九百五十二公尺。",
        "他喜欢喝绿茶,也喜欢吃饺子。",
    ],
    "es": [
        "¿Quién pintó «Las Meninas»?",
        "El niño comió piña mañana y noche en Logroño.",
        "¡Qué sorpresa! La pingüina nadó hasta la orilla.",
        "La Constitución de 1978 entró en vigor el 29 de diciembre.",
        "Cervantes murió en Madrid en abril de 1616.",
        "Los ríos más largos de España son el Tajo y el Ebro.",
    ],
    "en": [
        "Who led the building of the Suez Canal?",
        "The capital of France is Paris, on the river Seine.",
        "Shakespeare's plays weren't printed until after he'd left London.",
        "How many moons does Jupiter have, and who found the first four?",
        "The U.S. population was 331,449,281 on April 1, 2020.",
        "It isn't clear whether state-of-the-art models \"understand\" text.",
    ],
}  # fmt: skip

ODD = [
    "", " ", "\t\n", "a", "?", "...", "¿¡", "…—–", "'", "''", "’", "l’été", "rock 'n' roll",
    "don't can't won't", "👍", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷🇰🇷", "❤️ vs ❤", "ｆｕｌｌ ｗｉｄｔｈ １２３",
    "①②③ ½ ﬁ ﬂ", "x² + y³ = z₁", "e\u0301te\u0301 de\u0301ja\u0300 vu", "n\u0303o", "a\u0308o\u0308u\u0308",
    "\u1112\u1161\u11ab\u1100\u1173\u11af", "Z\u0351\u036b\u0343a\u0300l\u0301g\u0302o", "İstanbul ıI",
    "ΑΣ ΣΑΣ", "Привет, мир!", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "ไทยไม่มีช่องว่าง",
    "日本語のカタカナとひらがな", "zero\u200bwidth\u200djoiner\ufeff", "soft\u00adhyphen",
    "non\u00a0breaking\u202fspace\u3000ideographic", "line\nbreak\rreturn\ttab", "  leading and trailing  ",
    "double  spaces   here", "\x00null \x07bell \x7fdelete", "\ufffd replacement", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒷𝑒𝓎𝑜𝓃𝒹 𝟙",
    "𠀀𠮷 rare ideographs", "UPPER lower MiXeD ÀÉÎÕÜ", "snake_case camelCase kebab-case",
    "https://example.org/a?b=c&d=e#f", "user.name+tag@example.com", "C:\\path\\to\\file",
    "1.5e-10 0x1F 3,000,000", "[CLS] [SEP] [MASK] [PAD] [UNK]", "<s> </s> <pad> <unk> <mask>",
    "▁▁ metaspace ▁", "##ing Ġword", "a" * 120, "不" * 60, "한" * 60, "~`!@#$%^&*()_+-={}[]|:;\"<>,.?/",
    "\u0e33\u0e33", "ﷺ",
]  # fmt: skip
NUMBER = 200


def _varied() -> list[str]:
    """Every sentence and odd text, then changed and joined sentences, some longer than a model's row."""
    sentences = [text for group in zip(*SENTENCES.values(), strict=True) for text in group]
    changed = [text.upper() for text in sentences[:12]] + [
        unicodedata.normalize("NFD", text) for text in sentences[:18]
    ]
    joined = [f"{a} {b}" for a, b in zip(sentences, reversed(sentences), strict=True)]
    mixed = [f"{odd}{text}" for odd, text in zip(ODD[13:], cycle(sentences), strict=False)]
    long = [" ".join(islice(cycle(sentences[start:]), 30)) for start in range(4)]
    return [*sentences, *ODD, *long, *changed, *joined, *mixed]


STRINGS = list(dict.fromkeys(_varied()))[:NUMBER]
LANGUAGES = tuple(SENTENCES)
CORPUS = [text for group in SENTENCES.values() for text in group]
# Titles and texts for context encoders; some titles are empty.
PAIRS = [("" if position % 7 == 0 else STRINGS[position % 36], text) for position, text in enumerate(STRINGS)]
