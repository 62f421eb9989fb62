"""Run what a table or figure of the paper, or a study of ours, needs:
python -m rmt.reproduce table3 --scale mini

Runs that are done, anywhere in results/runs, are not repeated, interrupted ones go on, and one that
fails doesn't stop the others. A run counts only if its configuration and its text are the row's.
At the end the tables and figures are made again from all logs, but not after a --share: when all
shares are done, `python -m rmt.tables paper` and `python -m rmt.figures paper` make them.
"""

import os
from pathlib import Path

from rmt.options.command_line import Parser
from rmt.options.training import GRAPHS
from rmt.reproduction.planned import Order
from rmt.reproduction.runner import reproduce
from rmt.reproduction.scales import SCALES
from rmt.reproduction.studies.registry import STUDIES
from rmt.reproduction.targets import TARGETS, targets_at
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root


def main(argv: list[str]) -> int:
    return reproduce(Order(**parse(argv), n_gpus=n_gpus()))


def n_gpus() -> int:
    """Those that PyTorch sees, unless RMT_DEVICE says cpu."""
    if os.environ.get("RMT_DEVICE") == "cpu":
        return 0
    import torch  # late: what is left to do is found out, and shown, without it

    return torch.cuda.device_count()


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.reproduce", description=__doc__)
    parser.add_argument(
        "targets",
        nargs="+",
        choices=(*TARGETS, *STUDIES),
        metavar="TARGET",
        help=f"of the paper: {', '.join(TARGETS)}; our studies: {', '.join(STUDIES)}",
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        required=True,
        help="paper: its settings; midi: minutes of a GPU a run; mini: for two CPU cores",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        default=[],
        metavar="NAME",
        help="as --dry_run names them, with * for anything",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument(
        "--jobs",
        type=int,
        help="runs at a time (default: one for each GPU; without any, one on each core at mini "
        "scale, else one). Several may share a GPU: small models leave it idle most of the time",
    )
    parser.add_argument("--cuda_graph", choices=GRAPHS, default="off", help="as rmt.train's")
    parser.add_argument(
        "--data",
        default="",
        help="file or folder of the text; without it mini is of the reference inside Python",
    )
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="do the I-th of N shares (SLURM arrays)"
    )
    parser.add_argument(
        "--results", type=Path, default=project_root() / "results", help="folder of runs and tables"
    )
    parser.add_argument("--dry_run", action="store_true", help="print commands and estimated hours")
    options = parser.parse(argv)
    options["targets"] = list(dict.fromkeys(options["targets"]))
    studies = [name for name in options["targets"] if name in STUDIES]
    absent = set(options["targets"]) & set(TARGETS) - set(targets_at(options["scale"]))
    if absent:
        there = ", ".join(targets_at(options["scale"]))
        raise UsageError(f"at scale {options['scale']} there is {there}, not {min(absent)}")
    if studies and options["scale"] != "mini":
        raise UsageError(f"{studies[0]} is a study at mini scale: give --scale mini")
    for name in ("seeds", "jobs"):
        if options[name] is not None and options[name] < 1:
            raise UsageError(f"{name} must be at least 1, but it is {options[name]}")
    try:
        first, n_shares = map(int, options["share"].split("/"))
    except ValueError:
        first, n_shares = 0, 0
    if not 1 <= first <= n_shares:
        raise UsageError(f"share must be I/N with I from 1 to N, but it is {options['share']}")
    options["share"] = first, n_shares
    return options


if __name__ == "__main__":
    run_program(main)
