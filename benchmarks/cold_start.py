"""Measure the time from process start to the first answer, next to transformers: python -m benchmarks.cold_start

Both answer the same question from the same passages with the demo reader: transformers from the checkpoint, dpr-export
from the exported folder. Every run is a new Python process. Contenders take turns, and medians are compared.
"""

import json
import sys
from statistics import median

from benchmarks.harness.command import make_parser, start
from benchmarks.harness.model_files import DEMO
from benchmarks.harness.processes import DPR_EXPORT, run_measured
from dpr_export.exporter.demo import PASSAGES_FILE, QUESTION
from dpr_export.runtime.corpus import read_corpus

ROUNDS, QUICK_ROUNDS = 7, 1
TRANSFORMERS = """
import json, sys
import torch
from transformers import DPRReader, DPRReaderTokenizer
folder, question, titles, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
tokenizer = DPRReaderTokenizer.from_pretrained(folder)
model = DPRReader.from_pretrained(folder)
encoded = tokenizer(question, titles, texts, padding=True, return_tensors="pt")
with torch.no_grad():
    outputs = model(**encoded)
print(tokenizer.decode_best_spans(encoded, outputs, max_answer_length=10)[0].text)
"""
DROP_IN = (
    TRANSFORMERS.replace("import torch\n", "")
    .replace("from transformers", "from dpr_export.runtime")
    .replace('"pt"', '"np"')
    .replace("with torch.no_grad():\n    ", "")
)
ANSWER = """
import json, sys
from dpr_export.runtime import DPRReader
folder, question, titles, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
print(DPRReader.from_pretrained(folder).answer(question, titles, texts)[0].text)
"""


def main() -> None:
    parser = make_parser("cold_start", __doc__, "one round", saves=False)
    run = start(parser, parser.parse_args(), "two minutes", size=DEMO)
    passages = list(read_corpus(PASSAGES_FILE))
    titles, texts = [each.title or "" for each in passages], [each.text for each in passages]
    question = (QUESTION, json.dumps(titles), json.dumps(texts))
    checkpoint, exported = run.make_model("reader", "checkpoint"), run.work.model("reader", "exported-fp32")
    run_measured([DPR_EXPORT, checkpoint, "-o", exported, "--force"])
    contenders = {
        "transformers": (TRANSFORMERS, checkpoint),
        "dpr-export, the same calls": (DROP_IN, exported),
        "dpr-export, answer()": (ANSWER, exported),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(QUICK_ROUNDS if run.quick else ROUNDS):
        for name, (code, folder) in contenders.items():
            measured = run_measured([sys.executable, "-c", code, folder, *question], run.work.variables)
            times[name].append(measured.seconds)
            record = {"seconds": times[name], "answer": measured.output.strip()}
            run.keep(record, "contenders", name, line=f"round {number + 1}: {name} {measured.seconds:.2f} s")
    for name, seconds in times.items():
        ratio = median(times["transformers"]) / median(seconds)
        run.console.print(f"{name}: median {median(seconds):.2f} s, {ratio:.1f}x", highlight=False)


if __name__ == "__main__":
    main()
