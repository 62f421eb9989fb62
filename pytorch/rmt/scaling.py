"""How the cost grows: python -m rmt.scaling stream generation encoding ranks schedules

    stream      training on 10 times the segments and evaluating on 10 and 100 times the tokens:
                time and peak memory, for an RMT of 4 layers
    generation  the same RMT says 10,000 tokens and 100,000; and the enwik8 base RMT some, by its
                decoder and by computing the open segment again for every token
    encoding    a made-up text of WikiText-103's size, from words to ids, on one core: time and
                memory
    ranks       two processes, a core each, against one process on one core: tokens per second in
                training the enwik8 base RMT, with as many streams per process
    schedules   layers of different segments together, against one segment after the other: reading
                and training of models whose layers hand on to themselves, of 4 to 24 layers

Every measurement has a process of its own. --share makes all of them smaller, to try them: the
model of ranks, too.
"""

import json
import sys
from pathlib import Path

import torch

from rmt.benchmark.measure import new_report
from rmt.benchmark.scaling import MEASUREMENTS, table
from rmt.options.command_line import Parser
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import check_can_write, write_text


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.scaling", description=__doc__)
    parser.add_argument("names", nargs="+", choices=MEASUREMENTS, metavar="MEASUREMENT")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="keep the measurements")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual amounts, to try it")
    options = parser.parse(argv)
    if not 0 < options["share"] <= 1:
        raise UsageError(f"share must be above 0 and at most 1, but it is {options['share']}")
    if options["out"]:
        check_can_write(options["out"])
    report = new_report(torch.device("cpu"))
    for name in options["names"]:
        print(f"measuring {name}", file=sys.stderr)
        report["results"] += MEASUREMENTS[name](options["share"])
        if options["out"]:
            write_text(options["out"], json.dumps(report, indent=1) + "\n")
    print(table(report["results"]), end="")


if __name__ == "__main__":
    run_program(main)
