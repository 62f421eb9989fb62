"""How long Tables 2 to 4 would take on some GPUs: python -m rmt.expected

Hours are the counted operations of a run, in layers and softmax, at the rate of steps like the
run's where a report in results/bench has some of that card (rmt.bench, gpu_check.sh); elsewhere at
an assumed share of what the vendor's data sheet says of dense products. The table tells which.
results/bench/expected.md is what this prints: make it anew when a report is added.
"""

from pathlib import Path

from rmt.options.command_line import Parser
from rmt.reproduction.expected import UTILIZATION, page
from rmt.reproduction.measured_rates import read_measured
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.expected", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--utilization",
        type=float,
        help="assume this share of the GPU's peak, whatever was measured",
    )
    parser.add_argument(
        "--precision", choices=UTILIZATION, default="bf16", help="the paper's runs are fp32"
    )
    parser.add_argument(
        "--reports",
        type=Path,
        default=project_root() / "results" / "bench",
        metavar="FOLDER",
        help="of rmt.bench (default: results/bench)",
    )
    options = parser.parse(argv)
    utilization = options["utilization"]
    if utilization is not None and not 0 < utilization <= 1:
        raise UsageError(f"utilization must be above 0 and at most 1, but it is {utilization}")
    print(page(options["precision"], utilization, read_measured(options["reports"])), end="")


if __name__ == "__main__":
    run_program(main)
