"""Measure span decoding, next to transformers: python -m benchmarks.spans

Both decode the same inputs in turns. The process fails if their spans differ or, without --quick, if ours is too slow.
Every case is timed twice: "search" replaces the decoding of text by a function that does nothing, for both, and "all"
is the whole call. Times are medians. The logits are noise, which makes longer spans than a trained reader's.
"""

import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness.command import make_parser, start
from dpr_export.models.spans import decode_best_spans
from dpr_export.models.telemetry import no_telemetry

with no_telemetry():
    from transformers import DPRReaderTokenizer

SECONDS, ROUNDS = 4.0, 200  # of one line of the table, at most
LEAST_RATIO = 50.0  # of the search in all spans of many passages from lists; at least 1 elsewhere
FORMS: dict[str, Callable[[Any], Any]] = {"list": np.ndarray.tolist, "numpy": np.asarray, "torch": torch.tensor}
ALL_SPANS = {"num_spans": 400, "max_answer_length": 64, "num_spans_per_passage": 4}
CASES: list[tuple[str, int, int, dict[str, int]]] = [  # name, passages, tokens, options
    ("small call", 1, 60, {}),
    ("small call", 5, 60, {}),
    ("default call", 100, 256, {}),
    ("all spans", 100, 256, ALL_SPANS),
]


def make_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer with as many entries as BERT's vocabulary has, a third of them continuations."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [f"{'##' if number % 3 == 0 else ''}piece{number}" for number in range(30522 - len(special))]
    path = folder / "vocab.txt"
    path.write_text("\n".join(special + pieces))
    return DPRReaderTokenizer(str(path))  # type: ignore[no-untyped-call]


def make_inputs(passages: int, tokens: int, form: str, tokenizer: Any) -> tuple[Any, Any]:
    """Ids with [SEP] at tokens 9 and 13, and normally distributed float32 logits (Python's floats in lists)."""
    rng = np.random.default_rng(0)
    shape = (passages, tokens)
    ids = rng.integers(5, 30522, shape)
    ids[:, 0] = tokenizer.cls_token_id
    ids[:, [9, 13]] = tokenizer.sep_token_id
    logits = [rng.normal(size=size).astype(np.float32) for size in (shape, shape, passages)]
    return FORMS[form](ids), tuple(FORMS[form](array) for array in logits)


def compare(tokenizer: Any, ids: Any, logits: Any, options: dict[str, int], with_text: bool) -> tuple[float, float]:
    """Median milliseconds of transformers and of ours, taken in turns; every turn must return the same spans."""
    special = {"sep_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    backend = tokenizer.backend_tokenizer  # a copy

    def decode(rows: list[list[int]]) -> list[str]:
        return list(backend.decode_batch(rows, skip_special_tokens=False)) if with_text else [""] * len(rows)

    times: list[tuple[float, float]] = []
    first = time.perf_counter()
    while not times or (len(times) < ROUNDS and time.perf_counter() - first < SECONDS):
        begin = time.perf_counter()
        expected = tokenizer.decode_best_spans({"input_ids": ids}, logits, **options)
        middle = time.perf_counter()
        found = decode_best_spans(ids, logits, decode=decode, **special, **options)
        times.append(((middle - begin) * 1000, (time.perf_counter() - middle) * 1000))
        if [tuple(span) for span in found] != [tuple(span) for span in expected]:
            raise SystemExit("FAILED: the spans differ from transformers'")
    return median(theirs for theirs, _ in times), median(ours for _, ours in times)


def main() -> None:
    parser = make_parser("spans", __doc__, "the smallest case", saves=False)
    run = start(parser, parser.parse_args(), "about three minutes")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder))
        decode = tokenizer.decode
        for name, passages, tokens, options in CASES[:1] if run.quick else CASES:
            for form, with_text in product(FORMS, (False, True)):
                inputs = make_inputs(passages, tokens, form, tokenizer)
                tokenizer.decode = decode if with_text else lambda _: ""
                theirs, ours = compare(tokenizer, *inputs, options, with_text)
                case = f"{name}, {passages}x{tokens}, {form}, {'all' if with_text else 'search'}"
                line = f"{case}: {theirs:.2f} ms, ours {ours:.2f} ms, {theirs / ours:.1f}x"
                run.keep([theirs, ours], "cases", case, line=line)
                required = LEAST_RATIO if (options, form, with_text) == (ALL_SPANS, "list", False) else 1.0
                if theirs / ours < required and not run.quick:
                    failed.append(f"{case}: below {required:.0f}x")
    if failed:
        raise SystemExit("FAILED: " + "; ".join(failed))
    speed = f"at least {LEAST_RATIO:.0f}x in the search of all spans from lists, slower nowhere"
    print(f"PASSED: {'the same spans' if run.quick else speed}")


if __name__ == "__main__":
    main()
