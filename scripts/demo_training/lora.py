"""Train the demo adapters: LoRA on every linear layer, a cosine schedule, and an adapter saved after each epoch.

LoRA keeps each adapter under two megabytes, fit for a repository, where the merged checkpoint is 90 MB. In half
precision rank 22 leaves room below that, and rank 24 does not.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file

from scripts.demo_training.base import BASE_NAME, DPRModel, ignore_peft_warning

Batch = TypeVar("Batch")
LINEARS = ["query", "key", "value", "dense"]
SAVED = frozenset("peft_type task_type r lora_alpha lora_dropout bias inference_mode modules_to_save".split())
RANK, ALPHA, DECAY = 22, 32, 0.01
LEAD = 2.0  # how much faster the matrices B learn, which begin at zero
WARMUP = 0.06  # of all steps
SECONDS_A_LINE = 30.0  # where there is no terminal to draw a bar on


def adapt(model: DPRModel, heads: list[str] | None = None) -> PeftModel:
    """Wrap a DPR model so that only LoRA's matrices, and the named heads whole, are trained."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LINEARS, modules_to_save=heads)
    with ignore_peft_warning():
        adapted = get_peft_model(model, config)
    adapted.train()
    return cast("PeftModel", adapted)


def optimizer_for(models: Sequence[PeftModel], rate: float) -> torch.optim.AdamW:
    """AdamW, with LoRA+'s own rate for the matrices B."""
    named = [(name, value) for model in models for name, value in model.named_parameters() if value.requires_grad]
    matrices_b = [value for name, value in named if "lora_B" in name]
    others = [value for name, value in named if "lora_B" not in name]
    groups = [{"params": others, "lr": rate}, {"params": matrices_b, "lr": rate * LEAD}]
    return torch.optim.AdamW(groups, weight_decay=DECAY, fused=True)


def cosine(done: float) -> float:
    """The share of the largest rate when a share of the training is done: a straight warm-up, then half a cosine.

    >>> [round(cosine(done), 2) for done in (0.03, 0.06, 0.53, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if done < WARMUP:
        return done / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP)))


def fit(
    adapters: Mapping[Path, PeftModel],
    rate: float,
    minutes: float,
    epochs: Sequence[Sequence[Batch]],
    loss_of: Callable[[Batch], torch.Tensor],
) -> None:
    """Train on every batch of every epoch, or as far as the time allows, in bf16; save after every epoch.

    Args:
        adapters: what is trained together, and the folder of each.
        rate: the largest learning rate of the matrices A and the heads.
        minutes: where the time runs out first, the cosine ends with it.
        epochs: the batches of each epoch.
        loss_of: a batch's loss, a scalar.
    """
    batches = [(number, batch) for number, epoch in enumerate(epochs, start=1) for batch in epoch]
    optimizer = optimizer_for(list(adapters.values()), rate)
    trained = [value for group in optimizer.param_groups for value in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    began = time.monotonic()
    with reporting() as report:
        for step, (number, batch) in enumerate(batches, start=1):
            done = max(step / len(batches), (time.monotonic() - began) / 60 / minutes)
            for group, largest in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = largest * cosine(min(done, 1.0))
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            report(f"epoch {number}/{len(epochs)} step {step}", loss.item(), done)
            if done >= 1 or batches[step][0] != number:
                for folder, model in adapters.items():
                    save_adapter(model, folder)
            if done >= 1:
                break
    print(f"{step} steps in {time.monotonic() - began:.0f} s")


@contextmanager
def reporting() -> Iterator[Callable[[str, float, float], None]]:
    """Show a progress bar with loss and time left; without a terminal, print a line every half minute."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    began = spoke = time.monotonic()
    smooth: float | None = None
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=1.0)

        def report(where: str, loss: float, done: float) -> None:
            nonlocal smooth, spoke
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            progress.update(task, completed=done, description=f"{where} loss {smooth:.3f}")
            now = time.monotonic()
            if not console.is_terminal and (now - spoke > SECONDS_A_LINE or done >= 1):
                spoke = now
                left = (now - began) * (1 / done - 1)
                print(f"{where} loss {smooth:.3f}, {left:.0f} s left", file=sys.stderr, flush=True)

        yield report


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter in peft's format and half precision, without paths of this machine."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    weights = folder / "adapter_model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    settings = folder / "adapter_config.json"
    config = {name: value for name, value in json.loads(settings.read_text(encoding="utf-8")).items() if name in SAVED}
    config["base_model_name_or_path"] = BASE_NAME
    config["target_modules"] = LINEARS
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in (weights, settings):
        file.chmod(0o644)
