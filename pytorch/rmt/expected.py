"""How long Tables 2 to 4 would take on some GPUs: python -m rmt.expected

All of it is estimated: the counted operations of a run, in layers and softmax, at an assumed share
of what the vendor's data sheet says of dense products. What was measured is in results/bench.
"""

from rmt.options.command_line import Parser
from rmt.reproduction.expected import UTILIZATION, table
from rmt.runtime.errors import UsageError, run_program


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.expected", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--utilization",
        type=float,
        help="the share of the GPU's peak that training reaches (default: a guess)",
    )
    parser.add_argument(
        "--precision", choices=UTILIZATION, default="bf16", help="the paper's runs are fp32"
    )
    options = parser.parse(argv)
    precision = options["precision"]
    utilization = options["utilization"]
    utilization = UTILIZATION[precision] if utilization is None else utilization
    if not 0 < utilization <= 1:
        raise UsageError(f"utilization must be above 0 and at most 1, but it is {utilization}")
    peak = f"{utilization:.0%} of the GPU's peak in {precision}"
    print(f"Estimated, at {peak}:\n\n{table(precision, utilization)}", end="")


if __name__ == "__main__":
    run_program(main)
