"""What run_scripts/gpu_check.sh measures: the paper's own batches, in every form of the step."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from rmt.benchmark.agreement import agreement_table
from rmt.benchmark.cases import COMMON, NAMED, Case, case
from rmt.benchmark.measure import measure, why
from rmt.benchmark.tables import kernel_table, label, table
from rmt.options.training import CAPTURED, COMPILED, EAGER
from rmt.paper.experiments import ON_GPU

FORMS = {
    CAPTURED: {"cuda_graph": "on"},
    COMPILED: {"cuda_graph": "off", "compile": True},
    EAGER: {"cuda_graph": "off"},
}
# What a check without a GPU takes instead: it shows that the check works, not how fast anything is.
SMALL = {"n_layer": 2, "n_head": 2, "d_head": 8, "d_model": 16, "d_inner": 32, "batch_size": 4}


ATTENTIONS = ("flex", "triton")


@dataclass(frozen=True)
class Planned:
    """Cases that are measured in one process, one after the other."""

    label: str
    cases: tuple[Case, ...]


def planned(*, small: bool, steps: int) -> Iterator[Planned]:
    """All that is to be measured, the most telling first.

    small: tiny models, without a GPU and without graphs.
    """
    for precision in ("bf16", "fp32"):
        for sizes in ON_GPU:
            forms = FORMS if not small else {EAGER: {}}
            cases = tuple(_case(sizes, precision, how, small, steps) for how in forms.values())
            yield Planned(_label(sizes, precision), cases)
        if precision == "bf16" and not small:
            for sizes in ON_GPU[:2]:
                cases = tuple(
                    _case(sizes, precision, FORMS[CAPTURED] | {"attention": name}, small, steps)
                    for name in ATTENTIONS
                )
                yield Planned(f"{_label(sizes, precision)}, attentions", cases)


def _case(sizes: Mapping, precision: str, how: dict, small: bool, steps: int) -> Case:
    name = sizes["dataset"]
    options = {**COMMON, **NAMED[name], **sizes, **how, "precision": precision}
    options |= SMALL if small else {"cuda": True}
    return case(name, options, steps)


def measure_in_turn(cases: Sequence[Case]) -> list[dict]:
    """measure each case, one after the other; of one that fails, why."""
    results = []
    for each in cases:
        try:
            results.append(measure(each))
        # Whatever a GPU, a compiler or a driver may say, the other cases are measured.
        except Exception as error:
            results.append({"name": label(each), "failed": why(error)})
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def report_page(report: Mapping) -> str:
    """The report in Markdown."""
    machine, forms = report["machine"], report.get("agreement", [])
    where = machine.get("gpu", f"{machine['cpu']}, with stand-ins for what only a GPU has")
    lines = [f"# GPU check of {report['date']}", ""]
    lines += [f"{where}, PyTorch {report['versions']['torch']}.", ""]
    if any("losses" in found for found in forms):
        lines += ["## The same training in every form of the step", ""]
        lines += ["A small model; mean losses of some steps each.", "", agreement_table(forms)]
    failed = [found for found in forms if "failed" in found]
    lines += [f"- not trained {found['form']}: {found['failed']}" for found in failed]
    lines += [""] if failed else []
    if tests := report.get("tests"):
        lines += [
            f"Tests: {tests['passed']} passed, {len(tests['failures'])} failed, "
            f"{tests['skipped']} skipped, in {tests['seconds']:.0f} s.",
            "",
        ]
        lines += [f"- failed: {name}: {reason}" for name, reason in tests["failures"].items()]
        lines += [""] if tests["failures"] else []
    results = [found for found in report["results"] if "failed" not in found]
    failed = [found for found in report["results"] if "failed" in found]
    lines += [f"- not measured: {found['name']}: {found['failed']}" for found in failed]
    lines += [""] if failed else []
    if report.get("left_out"):
        lines += [f"Left out, for lack of time: {'; '.join(report['left_out'])}.", ""]
    if results:
        lines += ["## Steps", "", table(results), kernel_table(results)]
    return "\n".join(lines).rstrip() + "\n"


def _label(sizes: Mapping, precision: str) -> str:
    depth = f" BPTT-{sizes['bptt_unrolls']}" if "bptt_unrolls" in sizes else ""
    return f"{sizes['dataset']} {sizes['model']}{depth} {precision}"
