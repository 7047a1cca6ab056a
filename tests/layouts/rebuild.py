"""The table of layouts that people publish: each function writes a tiny checkpoint, and says what its library computes.

A name is `LIBRARY, WHAT`. What is refused is in refused.py, and how each may be damaged in damages.py.
"""

from collections.abc import Callable
from pathlib import Path

from tests.layouts import vocabularies
from tests.layouts.adapters import adapter
from tests.layouts.original import Original
from tests.layouts.other_libraries import facebook_roberta, haystack
from tests.layouts.sentence_transformers_folders import (
    as_version_1,
    as_version_2,
    as_version_5,
    dense,
    folder_of,
    normalize,
)
from tests.layouts.transformers_classes import (
    dpr,
    dpr_named,
    dpr_of_the_other_class,
    dpr_with,
    dpr_without_tokenizer,
    only,
    pickled,
    plain,
    rag,
    sharded,
    sharded_bin,
    tevatron,
)
from tests.layouts.vocabularies import LENGTH

# The rows of every test run; the others are CI's. An export takes seconds.
QUICK = (
    "dpr, BertModel named and model_type bert",
    "rag, RagTokenForGeneration",
    "distilbert, DistilBertForMaskedLM",
    "roberta, mean",
    "xlm-roberta, sentencepiece.bpe.model",
    "sentence-transformers, two Dense, normalized",
    "peft, patterns",
    "facebookresearch, hf_roberta, projection",
)
LAYOUTS: dict[str, Callable[[Path], Original]] = {
    # DPR's classes, miswritten
    "dpr, as it should be": dpr,
    "dpr, no architectures": dpr_with(architectures=None),
    "dpr, BertModel named": dpr_with(architectures=["BertModel"]),
    "dpr, model_type bert": dpr_with(model_type="bert"),
    "dpr, BertModel named and model_type bert": dpr_with("context", architectures=["BertModel"], model_type="bert"),
    "dpr, context encoder with a question encoder's names": dpr_of_the_other_class,
    "dpr, module.": dpr_named("module."),
    "dpr, model.": dpr_named("model.", "context"),
    "dpr, tokenizer elsewhere": dpr_without_tokenizer,
    "dpr, shards": sharded,
    "dpr, shards of pickles": sharded_bin,
    "dpr, pickle with positions": pickled(dpr),
    "rag, RagTokenForGeneration": rag("RagTokenForGeneration"),
    "rag, RagSequenceForGeneration": rag("RagSequenceForGeneration"),
    "rag, RagModel": rag("RagModel"),
    "rag, pickle with positions": pickled(rag("RagSequenceForGeneration")),
    # classes without a DPR encoder
    "bert, cls": plain("BertModel", "bert"),
    "bert, cls, context": plain("BertModel", "bert", kind="context"),
    "bert, pooler": plain("BertModel", "bert", "pooler"),
    "bert, mean": plain("BertModel", "bert", "mean"),
    "bert, BertForMaskedLM": plain("BertForMaskedLM", "bert"),
    "bert, BertForPreTraining": plain("BertForPreTraining", "bert", "pooler"),
    "bert, BertForMaskedLM, pickle with positions": pickled(plain("BertForMaskedLM", "bert")),
    "distilbert, cls": plain("DistilBertModel", "bert"),
    "distilbert, mean, context": plain("DistilBertModel", "bert", "mean", "context"),
    "distilbert, DistilBertForMaskedLM": plain("DistilBertForMaskedLM", "bert"),
    "roberta, cls": plain("RobertaModel", "roberta"),
    "roberta, pooler, context": plain("RobertaModel", "roberta", "pooler", "context"),
    "roberta, mean": plain("RobertaModel", "roberta", "mean"),
    "roberta, RobertaForMaskedLM": plain("RobertaForMaskedLM", "roberta"),
    "roberta, vocab.json and merges.txt": only(vocabularies.write_bpe, plain("RobertaModel", "roberta")),
    "xlm-roberta, cls": plain("XLMRobertaModel", "xlm_roberta"),
    "xlm-roberta, mean, context": plain("XLMRobertaModel", "xlm_roberta", "mean", "context"),
    "xlm-roberta, sentencepiece.bpe.model": only(
        vocabularies.write_sentencepiece,
        plain("XLMRobertaModel", "xlm_roberta"),
        tokenizer_class="XLMRobertaTokenizer",
        model_max_length=LENGTH,
    ),
    "xlm-roberta, XLMRobertaForMaskedLM, pickle with positions": pickled(
        plain("XLMRobertaForMaskedLM", "xlm_roberta", "mean")
    ),
    "camembert, cls": plain("CamembertModel", "camembert"),
    "camembert, pooler": plain("CamembertModel", "camembert", "pooler"),
    "camembert, sentencepiece.bpe.model": only(
        vocabularies.write_sentencepiece,
        plain("CamembertModel", "camembert"),
        tokenizer_class="CamembertTokenizer",
        model_max_length=LENGTH,
    ),
    "tevatron, question": tevatron(),
    "tevatron, context": tevatron(kind="context"),
    "tevatron, pooler": tevatron({"output_dim": 16, "normalize": False}),
    "tevatron, normalized pooler, context": tevatron({"output_dim": 16, "normalize": True}, "context"),
    # sentence-transformers
    "sentence-transformers, cls": folder_of("cls"),
    "sentence-transformers, mean, context": folder_of("mean", kind="context"),
    "sentence-transformers, mean, normalized": folder_of("mean", normalize),
    "sentence-transformers, Dense": folder_of("cls", dense()),
    "sentence-transformers, Dense without bias, context": folder_of("cls", dense(bias=False), kind="context"),
    "sentence-transformers, two Dense, normalized": folder_of("mean", dense(), dense(16, 8), normalize),
    "sentence-transformers, 5": folder_of("cls", dense(), normalize, change=as_version_5),
    "sentence-transformers, 2": folder_of("cls", dense(), normalize, change=as_version_2),
    "sentence-transformers, 2, mean": folder_of("mean", change=as_version_2),
    "sentence-transformers, 1": folder_of("cls", dense(bias=False), change=as_version_1),
    "sentence-transformers, DistilBERT": folder_of("cls", model="DistilBertModel"),
    "sentence-transformers, DistilBERT, 2": folder_of("mean", model="DistilBertModel", change=as_version_2),
    "sentence-transformers, RoBERTa": folder_of("mean", model="RobertaModel", tokenizer="roberta"),
    "sentence-transformers, XLM-R, 2": folder_of(
        "mean", dense(), model="XLMRobertaModel", tokenizer="xlm_roberta", change=as_version_2
    ),
    "sentence-transformers, CamemBERT": folder_of("cls", model="CamembertModel", tokenizer="camembert"),
    # haystack, by hand
    "haystack, question": haystack(),
    "haystack, context": haystack("context"),
    "haystack, from BERT": haystack(bare=True),
    "haystack, from BERT, passage_encoder alone": haystack("context", bare=True, part=True),
    # peft
    "peft, BertModel": adapter(),
    "peft, DPRQuestionEncoder": adapter("DPRQuestionEncoder"),
    "peft, DPRContextEncoder": adapter("DPRContextEncoder", kind="context"),
    "peft, dense": adapter(target_modules=["dense", "query"]),
    "peft, adapter_model.bin": adapter(safe=False),
    "peft, patterns": adapter(
        rank_pattern={"layer.1.attention.self.query": 2}, alpha_pattern={"layer.0.attention.self.value": 32}
    ),
    "peft, biases": adapter(bias="all"),
    "peft, its own biases": adapter(bias="lora_only"),
    "peft, modules_to_save": adapter(pooling="pooler", modules_to_save=["pooler"]),
    "peft, fan_in_fan_out": adapter(fan_in_fan_out=True),
    "peft, tokenizer in the base": adapter(tokenizer_in_adapter=False),
    # facebookresearch/DPR, by hand
    "facebookresearch, hf_roberta": facebook_roberta(),
    "facebookresearch, hf_roberta, context": facebook_roberta("context"),
    "facebookresearch, hf_roberta, projection": facebook_roberta(projection=16),
}
