"""How long training would take on some GPUs, by counted operations."""

from collections.abc import Sequence
from dataclasses import replace

from rmt.models.options import ModelOptions
from rmt.options.training import EAGER, TrainConfig
from rmt.paper.experiments import TABLES, Row, rows
from rmt.reproduction.measured_rates import Measured, closest
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
    ends = [first for first, _ in train.stages[1:]] + [train.max_step]
    alone = {"curriculum_segments": (), "curriculum_steps": ()}
    return sum(
        (end - first)
        * (step_operations(model, replace(train, **alone, bptt_unrolls=unrolls)) or 0.0)
        for (first, unrolls), end in zip(train.stages, ends, strict=True)
    )


def hours(flops: float, gpu: str, precision: str, utilization: float | None = None) -> float:
    """On one GPU; utilization: the share of its peak that is reached, UTILIZATION if None."""
    return flops / GPUS[gpu][precision] / (utilization or UTILIZATION[precision]) / 3600


def page(precision: str, utilization: float | None, measured: Sequence[Measured]) -> str:
    """Every configuration once, in Markdown, and what the hours are made of.

    utilization: the share of a card's peak that is assumed, for all hours; None: they are by what
    was measured, and where nothing was by UTILIZATION.
    """
    found: dict[str, list[Measured]] = {gpu: [] for gpu in GPUS}  # what hours are made of

    def on(gpu: str, own: Plan, flops: float) -> str:
        if utilization is None and (case := closest(measured, gpu, own, precision)):
            found[gpu].append(case)
            return f"{flops / case.rate / 3600:.1f}"
        return f"~{hours(flops, gpu, precision, utilization):.1f}"

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
            + [on(gpu, own, flops) for gpu in GPUS]
        )
    share = UTILIZATION[precision] if utilization is None else utilization
    return "\n".join([_origin(precision, share, found), markdown(head, lines, n_words=3)])


def _origin(precision: str, utilization: float, found: dict[str, list[Measured]]) -> str:
    """What stands above the table: which hours are guessed, and by what the others are measured."""
    text = f"Hours with ~ are estimated, at {utilization:.0%} of the GPU's peak in {precision}.\n"
    if any(found.values()):
        text += (
            "Those without are the counted operations at the rate of the steps measured there that "
            "are most like the\nrow's: of the same layers and precision, neither captured nor "
            "compiled ones if there are, then with the closest BPTT.\n\n"
        )
    for gpu, cases in found.items():
        for case in dict.fromkeys(cases):
            share = case.rate / GPUS[gpu][case.train.precision]
            form = "" if case.form == EAGER else f", {case.form}"
            text += (
                f"- {case.gpu}, `{case.report.name}`: {case.train.dataset}, {case.model.label}, "
                f"BPTT-{case.train.bptt_unrolls}, segment {case.train.tgt_len}, batch "
                f"{case.train.batch_size}{form}: {share:.0%} of the peak\n"
            )
    return text
