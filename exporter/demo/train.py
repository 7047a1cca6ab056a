"""Train the demo adapters."""

import math
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from dpr_export.exporter.demo.base import base_model, base_tokenizer, mean_pooled
from dpr_export.exporter.demo.encoders import EncoderRows, encoders_loss
from dpr_export.exporter.demo.lora import Recipe, adapt, fit, save_adapter
from dpr_export.exporter.demo.reader import ReaderRows, padded, reader_loss
from dpr_export.exporter.demo.squad import read_squad

ADAPTERS = Path(__file__).parent / "adapters"
app = typer.Typer(add_completion=False)


def embed(model, rows):
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    out = torch.empty(len(rows), 384)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(order), 32):
            part = order[begin : begin + 32]
            out[part] = mean_pooled(model, *padded([rows[i] for i in part])).float()
    return out


def nearest(tokenizer, passages, questions):
    model = base_model("question").eval()
    rows = [e.ids[:256] for e in tokenizer.encode_batch([p.text for p in passages])]
    asked = [e.ids for e in tokenizer.encode_batch([q.text for q in questions])]
    found, wanted = embed(model, rows), embed(model, asked)
    order = (wanted @ found.T).argsort(dim=1, descending=True).tolist()
    return [
        [i for i in row if passages[i].article == passages[q.passage].article and i != q.passage]
        for q, row in zip(questions, order, strict=True)
    ]


@app.command()
def reader(
    squad: Path,
    output: Annotated[Path, typer.Option("--output", "-o")] = ADAPTERS,
    seed: int = 1,
    epochs: int = 10,
    rate: float = 1e-3,
    rate_b: float = 2e-3,
    minutes: float = math.inf,
    budget: int = 4096,
    hold: int = 0,
) -> None:
    torch.manual_seed(seed)
    passages, questions = read_squad(squad)
    tokenizer = base_tokenizer("reader")
    recipe = Recipe(epochs, rate, rate_b, minutes=minutes)
    near = nearest(tokenizer, passages, questions)
    rows = ReaderRows(tokenizer, passages, questions, near, seed)
    batches = [rows.epoch(budget) for _ in range(epochs)]
    print(sum(map(len, batches)), "steps", sum(len(r.ids) for e in batches for b in e for p in b for r in p) / 1e6, "M tokens", flush=True)
    base = base_model("reader")
    base.config.attention_probs_dropout_prob = 0.0
    for m in base.modules():
        if hasattr(m, "dropout") and "SelfAttention" in type(m).__name__:
            m.dropout.p = 0.0
    model = adapt(base, recipe, ["qa_outputs", "qa_classifier"])
    model.train()
    seconds = fit([model], recipe, batches, lambda b: reader_loss(model, b), lambda: save_adapter(model, output / "reader"))
    print(f"{seconds} steps")


@app.command()
def encoders(
    squad: Path,
    output: Annotated[Path, typer.Option("--output", "-o")] = ADAPTERS,
    seed: int = 1,
    epochs: int = 4,
    rate: float = 1e-3,
    rate_b: float = 2e-3,
    minutes: float = math.inf,
) -> None:
    torch.manual_seed(seed)
    passages, questions = read_squad(squad)
    tokenizer = base_tokenizer("question")
    recipe = Recipe(epochs, rate, rate_b, minutes=minutes)
    rows = EncoderRows(tokenizer, passages, questions, seed)
    batches = [rows.epoch() for _ in range(epochs)]
    teacher = base_model("question").eval()
    asking, holding = adapt(steady(base_model("question")), recipe), adapt(steady(base_model("context")), recipe)
    asking.train()
    holding.train()

    def save() -> None:
        save_adapter(asking, output / "question")
        save_adapter(holding, output / "context")

    seconds = fit([asking, holding], recipe, batches, lambda b: encoders_loss(teacher, asking, holding, b), save)
    print(f"{seconds} steps")


def steady(model):
    for m in model.modules():
        if hasattr(m, "dropout") and "SelfAttention" in type(m).__name__:
            m.dropout.p = 0.0
    return model


if __name__ == "__main__":
    app()
