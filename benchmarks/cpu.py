"""Measure speed on CPUs, next to everything that a user would pick instead: python -m benchmarks.cpu

Contenders take turns, so ratios hold on a machine that is not quite idle; medians are compared. Models are BERT-base
with random weights. The first run makes them, and the environment of sentence-transformers, in the working folder.
"""

from dataclasses import replace

from benchmarks import cpu_tables
from benchmarks.cpu_parts import PARTS, QUICK, WITHIN_BUDGET, Amounts
from benchmarks.harness.command import make_parser, start
from dpr_export.models.kinds import KINDS

BUDGET_MINUTES = 12.0


def main() -> None:
    parser = make_parser("cpu", __doc__, "tiny models and few calls")
    parser.add_argument("--only", action="append", choices=[*PARTS], help="a part to run (all); repeatable")
    help_of_kind = "a kind of model for the model calls and the limits (context); repeatable"
    parser.add_argument("--kind", action="append", choices=[*KINDS], help=help_of_kind)
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_MINUTES,
        metavar="MINUTES",
        help=f"how long the run may take ({BUDGET_MINUTES:.0f}), without the models that the first run makes; less "
        "time means fewer rounds, and parts left out at the end; 0: no limit, all shapes, and 1,000 passages, not "
        f"{WITHIN_BUDGET.passages}",
    )
    given = parser.parse_args()
    if given.budget < 0:
        parser.error(f"--budget is {given.budget}, and must be at least 0")
    takes = f"about {given.budget:.0f} minutes at most" if given.budget else "30 to 60 minutes for each kind of model"
    takes += "; the first run takes some minutes more, to make models and download packages"
    run = start(parser, given, takes, cpu_tables.show, seconds=given.budget * 60 or None)
    amounts = QUICK if run.quick else WITHIN_BUDGET if given.budget else Amounts()
    if given.kind:
        amounts = replace(amounts, kinds=given.kind)
    for part, measure in PARTS.items():
        if part not in (given.only or PARTS):
            continue
        if run.is_over:
            run.say(f"{part} is left out: the budget of {given.budget:.0f} minutes is spent. Run --only {part} next")
        else:
            measure(run, amounts)
    cpu_tables.show(run.results, run.console)


if __name__ == "__main__":
    main()
