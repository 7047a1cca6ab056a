"""Span decoding beside transformers' own: python -m benchmarks.spans

Both work on the same inputs in the same process, turn by turn, and must return the same spans. Every case is timed
twice: "search" replaces the decoding of text by a function that does nothing, for both, and "all" is the whole call.
Times are medians. The original takes some 20 s for a long call on torch tensors, so that is timed once. The logits are
noise, which makes spans longer, and so their text, than a trained reader's are.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import DPRReaderTokenizer

from dpr_export.models.spans import decode_best_spans

Call = Callable[[], list[Any]]
SECONDS = 4.0  # for the rounds of one line of the table
ROUNDS = 200
REQUIRED = 50.0  # times faster in the search over many passages from lists; nowhere slower


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    passages: int
    tokens: int
    form: str  # list, numpy or torch
    options: dict[str, int]
    required: float = 1.0


ALL_SPANS = {"num_spans": 400, "max_answer_length": 64, "num_spans_per_passage": 4}
CASES = [
    Case("all passages", 100, 256, "list", ALL_SPANS, REQUIRED),
    Case("all passages", 100, 256, "numpy", ALL_SPANS),
    Case("default call", 100, 256, "list", {}),
    Case("default call", 100, 256, "numpy", {}),
    Case("default call", 100, 256, "torch", {}),
    Case("small call", 5, 60, "list", {}),
    Case("small call", 5, 60, "numpy", {}),
    Case("small call", 5, 60, "torch", {}),
    Case("small call", 1, 60, "list", {}),
    Case("small call", 1, 60, "numpy", {}),
    Case("small call", 1, 60, "torch", {}),
    Case("all passages", 100, 256, "torch", ALL_SPANS),
]


def make_tokenizer(folder: Path) -> Any:
    """The original's tokenizer with as many entries as BERT's vocabulary has, a third of them continuations."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [f"{'##' if number % 3 == 0 else ''}piece{number}" for number in range(30522 - len(special))]
    path = folder / "vocab.txt"
    path.write_text("\n".join(special + pieces))
    return DPRReaderTokenizer(str(path))  # type: ignore[no-untyped-call]


def make_inputs(case: Case, tokenizer: Any) -> tuple[Any, Any]:
    """Ids with [SEP] at tokens 9 and 13, and normally distributed float32 logits (Python's floats in lists)."""
    rng = np.random.default_rng(0)
    shape = (case.passages, case.tokens)
    ids = rng.integers(5, 30522, shape)
    ids[:, 0] = tokenizer.cls_token_id
    ids[:, [9, 13]] = tokenizer.sep_token_id
    logits = [rng.normal(size=size).astype(np.float32) for size in (shape, shape, case.passages)]
    forms: dict[str, Callable[[Any], Any]] = {"list": np.ndarray.tolist, "numpy": np.asarray, "torch": torch.tensor}
    convert = forms[case.form]
    return convert(ids), tuple(convert(array) for array in logits)


def make_calls(case: Case, tokenizer: Any, with_text: bool) -> tuple[Call, Call]:
    """The original's call and ours."""
    ids, output = make_inputs(case, tokenizer)
    backend = tokenizer.backend_tokenizer

    def original() -> list[Any]:
        return list(tokenizer.decode_best_spans({"input_ids": ids}, output, **case.options))

    def decode(rows: list[list[int]]) -> list[str]:
        return list(backend.decode_batch(rows, skip_special_tokens=False)) if with_text else [""] * len(rows)

    def ours() -> list[Any]:
        special = {"sep_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
        return list(decode_best_spans(ids, output, decode=decode, **special, **case.options))

    return original, ours


def timed(call: Call) -> tuple[float, list[Any]]:
    begin = time.perf_counter()
    spans = call()
    return (time.perf_counter() - begin) * 1000, spans


def compare(original: Call, ours: Call) -> tuple[float, float]:
    """Median milliseconds of each, taken in turns; every turn must return the same spans."""
    begin = time.perf_counter()
    times: list[tuple[float, float]] = []
    while not times or (len(times) < ROUNDS and time.perf_counter() - begin < SECONDS):
        (first, expected), (second, found) = timed(original), timed(ours)
        if [tuple(span) for span in found] != [tuple(span) for span in expected]:
            raise SystemExit("FAILED: the spans differ from the original's")
        times.append((first, second))
    return median(first for first, _ in times), median(second for _, second in times)


def main() -> None:
    failed = []
    print(f"{'':14}{'passages':>8} {'tokens':>6}  {'given':6} {'timed':6} {'original':>12} {'ours':>11} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder))
        decode = tokenizer.decode
        for case in CASES:
            for with_text in (False, True):
                tokenizer.decode = decode if with_text else lambda _: ""
                theirs, ours = compare(*make_calls(case, tokenizer, with_text))
                what = "all" if with_text else "search"
                line = f"{case.name:14}{case.passages:8} {case.tokens:6}  {case.form:6} {what:6} "
                print(line + f"{theirs:9.2f} ms {ours:8.2f} ms {theirs / ours:6.1f}x", flush=True)
                required = 1.0 if with_text else case.required
                if theirs / ours < required:
                    failed.append(f"{case.name} from {case.form} ({what}): below {required:.0f}x")
    if failed:
        raise SystemExit("FAILED: " + "; ".join(failed))
    print(f"PASSED: at least {REQUIRED:.0f}x for the search in all passages from lists, slower nowhere")


if __name__ == "__main__":
    main()
