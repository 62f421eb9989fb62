"""Whether all forms of the step train alike, over more steps than a test has time for.

What goes wrong seldom, or only once a model has learned something, shows after some hundred steps.
On an H100 captured and compiled steps have ruined most trainings after 200 to 4,700 steps, though
they had agreed with a CPU's until then (docs/gpu.md).
"""

import math
import statistics
from collections.abc import Iterator, Sequence

import torch

from rmt.benchmark.cases import Case, case
from rmt.benchmark.measure import trainer_for, why
from rmt.paper.experiments import ALIKE_ON_GPU
from rmt.runs.reports import markdown
from rmt.runtime.progress import Progress

STEPS, WINDOW = 600, 50
USUAL = "as usual"
# By their names: options, and whether a captured step may compile the layers, as it does elsewhere.
FORMS = {
    USUAL: ({"cuda_graph": "off"}, True),
    "captured": ({"cuda_graph": "on"}, False),
    "compiled": ({"cuda_graph": "off", "compile": True}, True),
    "captured and compiled": ({"cuda_graph": "on"}, True),
}
# Two windows' mean losses of which one is so many times the other, and this more, differ by more
# than rounding: the loss falls from 1 to 0.02 meanwhile.
TIMES, MORE = 2.0, 0.05
LEARNED = 0.2  # the most that is left of the first window's loss after STEPS


def cases(*, small: bool) -> Iterator[tuple[str, Case, bool]]:
    """The form's name, what is trained, and whether a captured step may compile the layers.

    small: a tiny model, without a GPU, in the usual form alone.
    """
    if small:
        tiny = {"n_layer": 2, "n_head": 2, "d_head": 8, "d_model": 16, "d_inner": 32}
        yield USUAL, case("quadratic", ALIKE_ON_GPU | tiny | {"batch_size": 4}, 2 * WINDOW), True
        return
    for name, (how, compiles) in FORMS.items():
        yield name, case("quadratic", ALIKE_ON_GPU | {"cuda": True} | how, STEPS), compiles


def trained(name: str, case: Case, compiles: bool) -> dict:
    """What comes of a form: the mean losses of every WINDOW steps; of one that fails, why."""
    try:
        return {"form": name, "losses": windows(losses(case, compiles))}
    # Whatever a GPU, a compiler or a driver may say, the other forms are tried.
    except Exception as error:
        return {"form": name, "failed": why(error)}


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


def compared(found: Sequence[dict]) -> list[dict]:
    """The same with apart_from: the step from which on a form trained in another way than usual, or
    None. The usual form is apart from itself where it has not learned anything."""
    usual = next((each["losses"] for each in found if each["form"] == USUAL and _ran(each)), None)
    return [
        each | {"apart_from": apart_from(each["losses"], usual)} if _ran(each) and usual else each
        for each in found
    ]


def _ran(found: dict) -> bool:
    return "losses" in found


def apart_from(means: Sequence[float], usual: Sequence[float]) -> int | None:
    """The step at which the window begins that differs first."""
    for i, (mine, its) in enumerate(zip(means, usual, strict=True)):
        alike = mine <= TIMES * its + MORE and its <= TIMES * mine + MORE  # nor is nan
        if not alike:
            return i * WINDOW
    learned = means[-1] <= LEARNED * means[0]
    return None if learned or len(means) * WINDOW < STEPS else (len(means) - 1) * WINDOW


def agreement_table(found: Sequence[dict]) -> str:
    """In Markdown: a row for each form that was trained."""
    ran = [each for each in found if _ran(each)]
    ends = range(WINDOW, WINDOW * len(ran[0]["losses"]) + 1, WINDOW)
    head = ["form", *(f"to {end}" for end in ends), "another way from step"]
    rows = []
    for each in ran:
        means = [f"{mean:.3f}" if math.isfinite(mean) else "nan" for mean in each["losses"]]
        apart = each.get("apart_from")
        rows.append([each["form"], *means, "" if apart is None else f"{apart}"])
    return markdown(head, rows)
