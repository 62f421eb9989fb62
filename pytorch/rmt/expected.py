"""How long Tables 2 to 4 would take on some GPUs: python -m rmt.expected

All of it is estimated: the counted operations of a run, in layers and softmax, at an assumed share
of what the vendor's data sheet says of dense products. What was measured is in results/bench.
"""

from rmt.models.transformer_xl.operations import softmax_flops, step_flops
from rmt.options.command_line import Parser
from rmt.options.config import ModelConfig, TrainConfig
from rmt.paper.experiments import TABLES, Row, rows
from rmt.reproduction.scales import Plan, plan
from rmt.runs.markdown import markdown
from rmt.runtime.errors import UsageError, run_program

# Operations per second, from NVIDIA's data sheets, without sparsity (V100: fp16 instead of bf16).
GPUS = {
    "V100": {"fp32": 15.7e12, "bf16": 125e12},
    "A100": {"fp32": 19.5e12, "bf16": 312e12},
    "RTX 4090": {"fp32": 82.6e12, "bf16": 165e12},
    "H100, H200": {"fp32": 67e12, "bf16": 989e12},
}
UTILIZATION = {"fp32": 0.5, "bf16": 0.2}  # guesses for matrices as small as these


def run_flops(model: ModelConfig, train: TrainConfig) -> float:
    """Operations of training: the layers of every segment computed, predictions of the new ones.

    Of a task, of as many steps as there can be and of every segment of a sample.
    """
    n_new = train.segments if train.is_task else 1
    n_replayed = 0 if train.is_task else train.bptt_unrolls
    layers = step_flops(model, train, n_replayed + n_new)
    predictions = 3 * softmax_flops(model, n_new * train.batch_size * train.tgt_len)
    return train.max_step * (layers + predictions)


def hours(flops: float, gpu: str, precision: str, utilization: float | None = None) -> float:
    """On one GPU; utilization: the share of its peak that is reached, UTILIZATION if None."""
    return flops / GPUS[gpu][precision] / (utilization or UTILIZATION[precision]) / 3600


def table(precision: str, utilization: float) -> str:
    """Every configuration once, in Markdown."""
    by_name: dict[str, tuple[Plan, list[Row]]] = {}
    for number in TABLES:
        for row in rows(number):
            own = plan(row, "paper")
            by_name.setdefault(own.name, (own, []))[1].append(row)
    head = ["dataset", "model", "tables", "segment", "memory", "BPTT", "10^18 operations"]
    head += [f"hours on {gpu}" for gpu in GPUS]
    lines = []
    for own, same in by_name.values():
        row, names = same[0], sorted({row.table for row in same})
        flops = run_flops(own.model, own.configurations[0])
        depth = str(row.bptt_unrolls) if "bptt_unrolls" in row.flags else ""
        lines.append(
            [row.dataset, row.model, ", ".join(name.removeprefix("table") for name in names)]
            + [str(row.segment_len), str(row.memory), depth, f"{flops / 1e18:.1f}"]
            + [f"{hours(flops, gpu, precision, utilization):.1f}" for gpu in GPUS]
        )
    return markdown(head, lines, n_words=3)


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
