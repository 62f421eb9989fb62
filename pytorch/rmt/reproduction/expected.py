"""How long training would take on some GPUs, by counted operations."""

from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig
from rmt.paper.experiments import TABLES, Row, rows
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import plan
from rmt.runs.reports import markdown
from rmt.training.cost import step_operations

# Operations per second, from NVIDIA's data sheets, without sparsity (V100: fp16 instead of bf16).
GPUS = {
    "V100": {"fp32": 15.7e12, "bf16": 125e12},
    "A100": {"fp32": 19.5e12, "bf16": 312e12},
    "RTX 4090": {"fp32": 82.6e12, "bf16": 165e12},
    "H100, H200": {"fp32": 67e12, "bf16": 989e12},
}
UTILIZATION = {"fp32": 0.5, "bf16": 0.2}  # guesses for matrices as small as these


def run_operations(model: ModelOptions, train: TrainConfig) -> float:
    """Operations of training, without evaluations: of a task, of as many steps as there can be.

    0 for a model whose operations nobody has counted.
    """
    return train.max_step * (step_operations(model, train) or 0.0)


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
        flops = run_operations(own.model, own.settings.train)
        depth = str(row.bptt_unrolls) if "bptt_unrolls" in row.flags else ""
        lines.append(
            [row.dataset, row.model, ", ".join(name.removeprefix("table") for name in names)]
            + [str(row.segment_len), str(row.memory), depth, f"{flops / 1e18:.1f}"]
            + [f"{hours(flops, gpu, precision, utilization):.1f}" for gpu in GPUS]
        )
    return markdown(head, lines, n_words=3)
