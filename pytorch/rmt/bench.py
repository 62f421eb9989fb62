"""Speed of training: python -m rmt.bench wt103 enwik8 copy [options]

Each case (named sizes, model, gradient depth, precision) is measured in a process of its own on
made-up data: time of a step, tokens/s, the share of what the machine's matrix products could do,
peak memory and the parts the time goes to. One unit is the time that the layers' counted
operations, forward and backward over all segments of a step, would take at the fp32 matrix rate
measured in the same process.

Any option of rmt.train overrides the named sizes, e.g. --batch_size 2 --checkpoint_segments.
"""

import json
import os
from pathlib import Path

import torch

from rmt.benchmark.cases import NAMED, Case, Grid, cases
from rmt.benchmark.measure import in_new_process, measure, new_report
from rmt.benchmark.tables import AGAINST, kernel_table, label, split_table, table
from rmt.data import registry as data
from rmt.models import registry as models
from rmt.options.command_line import Parser
from rmt.options.training import TrainConfig
from rmt.runtime.errors import ProcessKilled, UsageError, run_program
from rmt.runtime.files import check_can_write, write_text
from rmt.runtime.progress import Progress

# Options of rmt.train of which a measurement takes several.
INSTEAD = {
    "dataset": "SIZES",
    "model": "--models",
    "bptt_unrolls": "--bptt",
    "precision": "--precisions",
}


def main(argv: list[str]) -> None:
    options = parse(argv)
    names, out, grid = options.pop("names"), options.pop("out"), options.pop("grid")
    planned = list(cases(names, grid, options))
    if out:
        check_can_write(out)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative
    report = new_report(torch.device("cuda" if options.get("cuda") else "cpu"))
    with Progress(len(planned), "measuring", unit="case") as progress:
        for case in planned:
            progress.update(0, note=label(case))
            report["results"].append(measured(case))
            progress.update()
            if out:  # after every case, so that nothing is lost on a Ctrl-C
                write_text(out, json.dumps(report, indent=1) + "\n")
    results = report["results"]
    print(table(results), split_table(results), kernel_table(results), sep="\n", end="")


def measured(case: Case) -> dict:
    """measure(case) in a new process. Raises ProcessKilled if that was."""
    try:
        return in_new_process(measure, case)
    except ProcessKilled as error:
        raise ProcessKilled(
            f"{label(case)}: {error}; try a smaller --batch_size or --checkpoint_segments"
        ) from None


def parse(argv: list[str]) -> dict:
    """The options of rmt.train that were given, with names, grid and out."""
    parser = Parser(prog="python -m rmt.bench", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMED, metavar="SIZES", help=", ".join(NAMED))
    parser.add_argument(
        "--models", choices=models.entries(), default=[models.DEFAULT], nargs="+", metavar="NAME"
    )
    parser.add_argument("--bptt", type=int, nargs="+", default=[1], metavar="N")
    precisions = ("fp32", "bf16", "fp16")
    parser.add_argument(
        "--precisions", choices=precisions, default=["bf16"], nargs="+", metavar="NAME"
    )
    parser.add_argument("--steps", type=int, default=10, help="steps timed (default: 10)")
    parser.add_argument(
        "--against",
        choices=AGAINST,
        help="alternate with the plain model in fp32, or window with replay",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="keep the measurements")
    for entry in models.entries().values():
        parser.add_options(entry.options)
    parser.add_options(TrainConfig)
    for dataset in data.tasks().values():
        parser.add_options(dataset.options)
    options = parser.parse(argv)
    for name, instead in INSTEAD.items():
        if name in options:
            raise UsageError(f"say {instead} here, not --{name}")
    if options["steps"] < 1:
        raise UsageError(f"steps must be at least 1, but it is {options['steps']}")
    of_grid = ("models", "bptt", "precisions", "steps", "against")
    grid = {name: options.pop(name) for name in of_grid}
    options["grid"] = Grid(**grid)
    return options


if __name__ == "__main__":
    run_program(main)
