"""Train the demo adapters.

    python -m scripts.demo_training.train reader|encoders SQUAD.json [-o DIR]

The adapters in `adapters/` came from the first 12 articles of SQuAD 1.1's training set (678 paragraphs, 4,370
questions), seed 1, on two processor cores that other work shared, which is what `--minutes` is for:

    reader SQUAD.json --epochs 8 --minutes 44      1,252 steps, 5.9 epochs, 2,641 s
    encoders SQUAD.json --epochs 3                   558 steps, 981 s

On all 612 questions about the 120 paragraphs of XQuAD's English part, none of them trained on:

    reader    exact match 44.1, F1 57.3; the right passage first of five of its article 90.5
    encoders  top-1 88.9, top-5 99.2; the untrained encoder, mean-pooled, has 89.1 and 99.0

How many steps a time limit allows depends on the machine; without `--minutes`, a machine repeats its run exactly.
"""

import math
from pathlib import Path
from typing import Annotated

import torch
import typer

from dpr_export.runtime.corpus.squad import read_squad
from scripts.demo_training.base import DPRModel, base_config, base_model, base_tokenizer
from scripts.demo_training.encoders import EncoderRows, encoders_loss
from scripts.demo_training.lora import adapt, fit
from scripts.demo_training.reader import ReaderRows, nearest_passages, reader_loss

app = typer.Typer(add_completion=False, help="Train the demo adapters on a SQuAD-format file.")
File = Annotated[Path, typer.Argument(help="A file in SQuAD's format.", exists=True, dir_okay=False)]
Output = Annotated[Path, typer.Option("-o", "--output", help="The folder to write the adapters' folders into.")]
Seed = Annotated[int, typer.Option(help="Of the order, the windows and the new weights.")]
Epochs = Annotated[int, typer.Option(min=1, help="How often each question is seen.")]
Rate = Annotated[float, typer.Option(help="The largest learning rate; LoRA's second matrices get twice that.")]
Minutes = Annotated[float, typer.Option(help="End, with a whole cosine, after this time at the latest.")]


def trainable(kind: str) -> DPRModel:
    """The pretrained encoder, configured for fast training on a CPU.

    No dropout, since drawing it costs a tenth of the time and LoRA overfits little; eager attention, since torch's
    fused one is slower backwards when heads are 32 wide. The two together made a step 1.6 times as fast.
    """
    config = base_config(kind)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = base_model(kind, config)
    model.set_attn_implementation("eager")
    return model


@app.command()
def reader(
    file: File,
    output: Output = Path("adapters"),
    seed: Seed = 1,
    epochs: Epochs = 8,
    rate: Rate = 1e-3,
    minutes: Minutes = math.inf,
    budget: Annotated[int, typer.Option(help="Tokens in a batch, padding included.")] = 4096,
) -> None:
    """Train the reader: spans on the right passage, relevance against a wrong one."""
    torch.manual_seed(seed)
    squad = read_squad(file).answerable()
    tokenizer = base_tokenizer("reader")
    near = nearest_passages(trainable("question"), tokenizer, squad)
    rows = ReaderRows(tokenizer, squad, near, seed)
    batches = [rows.epoch(budget) for _ in range(epochs)]
    model = adapt(trainable("reader"), heads=["qa_outputs", "qa_classifier"])
    fit({output / "reader": model}, rate, minutes, batches, lambda batch: reader_loss(model, batch))


@app.command()
def encoders(
    file: File,
    output: Output = Path("adapters"),
    seed: Seed = 1,
    epochs: Epochs = 3,
    rate: Rate = 1e-3,
    minutes: Minutes = math.inf,
) -> None:
    """Train the question and the context encoder together."""
    torch.manual_seed(seed)
    squad = read_squad(file).answerable()
    rows = EncoderRows(base_tokenizer("question"), squad, seed)
    batches = [rows.epoch() for _ in range(epochs)]
    teacher = trainable("question")
    asking, holding = adapt(trainable("question")), adapt(trainable("context"))
    adapters = {output / "question": asking, output / "context": holding}
    fit(adapters, rate, minutes, batches, lambda batch: encoders_loss(teacher, asking, holding, batch))


if __name__ == "__main__":
    app()
