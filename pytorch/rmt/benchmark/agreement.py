"""Whether all forms of the step train alike, over more steps than a test has time for.

What goes wrong seldom, or only once a model has learned something, shows after some hundred steps.
On an H100 captured and compiled steps have ruined most trainings after 200 to 4,700 steps, though
they had agreed with a CPU's until then (docs/gpu.md).
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import torch

from rmt.benchmark.cases import Case, case
from rmt.benchmark.measure import trainer_for
from rmt.options.training import CAPTURED, COMPILED, EAGER
from rmt.paper.experiments import TASK_SIZES
from rmt.runs.reports import markdown
from rmt.runtime.progress import Progress

STEPS, WINDOW = 600, 50
# By their names: options, and whether captured steps have compiled layers, as they have elsewhere.
FORMS = {
    EAGER: ({"cuda_graph": "off"}, True),
    f"{CAPTURED}, not compiled": ({"cuda_graph": "on"}, False),
    COMPILED: ({"cuda_graph": "off", "compile": True}, True),
    CAPTURED: ({"cuda_graph": "on"}, True),
}
# A mean loss of a window that is so many times that of the step as it is, and this more, is not
# rounding: the loss falls from 1 to 0.02 meanwhile.
TIMES, MORE = 2.0, 0.05


def cases(*, small: bool) -> Iterator[tuple[str, Case, bool]]:
    """The form's name, what is trained, and whether its layers are compiled.

    small: a tiny model, without a GPU and without graphs.
    """
    options = {"dataset": "quadratic", "model": "baseline", "segments": 1, "recipe": "fast"}
    options |= TASK_SIZES["quadratic"] | {"curriculum": -1, "max_step": 15_000}
    if small:
        tiny = {"n_layer": 2, "n_head": 2, "d_head": 8, "d_model": 16, "d_inner": 32}
        yield EAGER, case("quadratic", options | tiny | {"batch_size": 4}, 2 * WINDOW), True
        return
    for name, (how, compiles) in FORMS.items():
        yield name, case("quadratic", options | {"cuda": True} | how, STEPS), compiles


def losses(case: Case, compiles: bool) -> list[float]:
    """The loss of every step, in this process."""
    device = torch.device("cuda" if case.train.cuda else "cpu")
    trainer = trainer_for(case, device, compiles=compiles)
    progress = Progress(1, "", shown=False)
    for _ in range(case.steps):
        trainer.train_step(progress)
    return [outcome.loss for outcome in trainer.uncounted]


def windows(losses: Sequence[float]) -> list[float]:
    """Mean losses of WINDOW steps each."""
    return [statistics.fmean(losses[i : i + WINDOW]) for i in range(0, len(losses), WINDOW)]


def apart_from(means: Sequence[float], reference: Sequence[float]) -> int | None:
    """The step from which on, or in whose window, training went another way; None if it did not."""
    for i, (mine, its) in enumerate(zip(means, reference, strict=True)):
        if not mine <= TIMES * its + MORE:  # nor is nan
            return i * WINDOW
    return None


def compared(by_form: Mapping[str, list[float]]) -> list[dict]:
    """What a report keeps: of each form the windows' means, and where they leave the first's."""
    found, reference = [], None
    for name, own in by_form.items():
        means = windows(own)
        reference = reference or means
        found.append({"form": name, "losses": means, "apart_from": apart_from(means, reference)})
    return found


def agreement_table(found: Sequence[dict]) -> str:
    """In Markdown: a row for each form."""
    n_windows = max(len(each["losses"]) for each in found)
    head = ["form", *(f"to {WINDOW * (i + 1)}" for i in range(n_windows)), "another way from step"]
    rows = []
    for each in found:
        means = [f"{mean:.3f}" if math.isfinite(mean) else "nan" for mean in each["losses"]]
        apart = each["apart_from"]
        rows.append([each["form"], *means, "" if apart is None else f"{apart}"])
    return markdown(head, rows, n_words=1)
