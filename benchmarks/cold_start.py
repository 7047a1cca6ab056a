"""Process start to first answer, beside transformers: python -m benchmarks.cold_start

Both answer the same question from the same passages with the demo reader: transformers from the checkpoint, dpr-export
from the folder exported of it. Every run is a new Python process. Contenders alternate, and medians are compared.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from dpr_export.exporter import export
from dpr_export.exporter.checkpoint.source import resolve_checkpoint
from dpr_export.exporter.demo import PASSAGES_FILE, QUESTION
from dpr_export.runtime.corpus import read_corpus

ROUNDS = 7
READ = """
import json, sys
folder, question, titles, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
"""
TRANSFORMERS = (
    READ
    + """
import torch
from transformers import DPRReader, DPRReaderTokenizer
tokenizer = DPRReaderTokenizer.from_pretrained(folder)
model = DPRReader.from_pretrained(folder)
encoded = tokenizer(question, titles, texts, padding=True, return_tensors="pt")
with torch.no_grad():
    outputs = model(**encoded)
print(tokenizer.decode_best_spans(encoded, outputs, max_answer_length=10)[0].text)
"""
)
DROP_IN = (
    TRANSFORMERS.replace("import torch\n", "")
    .replace("from transformers", "from dpr_export.runtime")
    .replace('"pt"', '"np"')
    .replace("with torch.no_grad():\n    ", "")
)
ANSWER = (
    READ
    + """
from dpr_export.runtime import DPRReader
print(DPRReader.from_pretrained(folder).answer(question, titles, texts)[0].text)
"""
)


def seconds_of(code: str, *arguments: str) -> tuple[float, str]:
    """How long a new process takes, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout.strip()


def main() -> None:
    passages = list(read_corpus(PASSAGES_FILE))
    question = [QUESTION, json.dumps([p.title or "" for p in passages]), json.dumps([p.text for p in passages])]
    with TemporaryDirectory() as folder, resolve_checkpoint("demo/reader") as checkpoint:
        exported = Path(folder, "exported")
        export(str(checkpoint.folder), exported)
        contenders = {
            "transformers": (TRANSFORMERS, str(checkpoint.folder)),
            "dpr-export, the same calls": (DROP_IN, str(exported)),
            "dpr-export, answer()": (ANSWER, str(exported)),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        answers = {}
        for _ in range(ROUNDS):
            for name, (code, where) in contenders.items():
                seconds, answers[name] = seconds_of(code, where, *question)
                times[name].append(seconds)
    table = Table("from process start to first answer", "seconds", "ratio", "answer", box=None, pad_edge=False)
    slowest = median(times["transformers"])
    for name, runs in times.items():
        table.add_row(name, f"{median(runs):.2f}", f"{slowest / median(runs):.1f}x", answers[name])
    Console().print(table)


if __name__ == "__main__":
    main()
