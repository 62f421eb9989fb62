"""Tables from logged runs, in Markdown: python -m rmt.tables runs FOLDER...

A row per configuration: the test score's mean over seeds (and its standard deviation, from two
seeds on), what a segment hands to the next, the speed and the size.
"""

import statistics
from itertools import groupby
from pathlib import Path

from rmt.cli import Parser
from rmt.errors import UsageError, run_program
from rmt.logged_runs import LoggedRun, read_runs


def runs_table(runs: list[LoggedRun], with_speed: bool = True) -> str:
    """Compare runs of one dataset; those that differ by their seed alone share a row.

    Raises UsageError where runs were scored on different texts.
    """
    if len({(run.result["corpus"], run.word_level) for run in runs}) > 1:
        raise UsageError("these runs were scored on different texts: make a table of each")
    metric = "test ppl" if runs[0].word_level else "test bpc"
    head = ["model", metric, "seeds", "numbers carried", "tokens", "parameters", "tokens/s"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    in_order = sorted(runs, key=_first_seen(runs))
    for _, same in groupby(in_order, key=_configuration):
        rows.append(_row(list(same)))
    if not with_speed:
        rows = [row[:-1] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _configuration(run: LoggedRun) -> tuple:
    schedule = {name: value for name, value in run.train.items() if name != "seed"}
    return run.label, run.model, tuple(sorted(schedule.items()))


def _first_seen(runs: list[LoggedRun]):
    order = {}
    for run in runs:
        order.setdefault(_configuration(run), len(order))
    return lambda run: order[_configuration(run)]


def _row(runs: list[LoggedRun]) -> list[str]:
    scores = [run.score for run in runs]
    digits = 2 if runs[0].word_level else 3
    score = f"{statistics.mean(scores):.{digits}f}"
    if len(scores) > 1:
        score += f" ± {statistics.stdev(scores):.{digits}f}"
    speed = statistics.median(run.result["tokens_per_s"] for run in runs)
    return [
        runs[0].label,
        score,
        str(len(runs)),
        f"{runs[0].model.n_carried:,}",
        f"{runs[0].result['tokens']:,}",
        f"{runs[0].result['n_all_param']:,}",
        f"{speed:,.0f}",
    ]


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.tables", description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["runs"], help="runs: compare the runs in FOLDER...")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--without_speed", action="store_true", help="for runs that shared their machine"
    )
    options = parser.parse(argv)
    print(runs_table(read_runs(options["folders"]), not options["without_speed"]), end="")


if __name__ == "__main__":
    run_program(main)
