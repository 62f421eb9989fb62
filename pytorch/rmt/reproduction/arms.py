"""Cells that decide, with the same trainings (arms) for both models: each model's best counts.

An arm is with lessons or without, from initial weights of one kind (studies.alike). Which one is a
model's best is said by the validation samples. The test samples are others, but the seeds are the
same, so that the best of four may still be the luckiest a little. It counts only where every arm
has run with three seeds for all that is compared.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rmt.paper.experiments import Experiment
from rmt.paper.published import Cell, cells_by_place
from rmt.reproduction.coverage import ENOUGH
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.scales import plan
from rmt.reproduction.studies.tasks import ALIKE, arms_of
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, markdown, mean_and_spread

NAMES = {
    (-1, "xavier"): "lessons, Xavier",
    (-1, "uniform"): "lessons, smaller",
    (0, "xavier"): "no lessons, Xavier",
    (0, "uniform"): "no lessons, smaller",
}


@dataclass(frozen=True)
class Arm:
    """One training of a model in a cell. key: its lessons and its initial weights."""

    key: tuple[int, str]
    plan: Plan
    runs: Sequence[LoggedRun]

    @property
    def validation(self) -> float:
        """The mean over seeds of the best checkpoint's score on validation samples."""
        return statistics.mean(map(best_validation, self.runs))


def best_validation(run: LoggedRun) -> float:
    rate = run.headline
    return max(entry[rate] for entry in run.metrics if entry["kind"] == "valid")


def has_arms(experiment: Experiment) -> bool:
    return isinstance(experiment, Cell) and experiment.place in ALIKE


def arms(experiment: Experiment, runs: Sequence[LoggedRun]) -> list[Arm]:
    """All of a cell's, in the order of NAMES, with the runs that there are."""
    found = {}
    for own in arms_of(plan(experiment, "mini")):
        key = own.settings.train.curriculum, own.settings.given["init"]
        found[key] = Arm(key, own, fitting_runs(own, runs))
    return [found[key] for key in NAMES]


def best_of_each(experiments: Sequence[Experiment], runs: Sequence[LoggedRun]) -> list[Arm] | None:
    """Of each experiment its best arm; None unless all arms of all have ENOUGH seeds."""
    if not all(map(has_arms, experiments)):
        return None
    found = [arms(experiment, runs) for experiment in experiments]
    if any(len(arm.runs) < ENOUGH for own in found for arm in own):
        return None
    return [max(own, key=lambda arm: arm.validation) for own in found]


def headline(experiment: Experiment, runs: Sequence[LoggedRun]) -> Sequence[LoggedRun]:
    """The runs that stand for an experiment in a figure: its best arm's, where both models of its
    cell have run all arms, else its plan's."""
    if has_arms(experiment):
        task, _, *sizes = experiment.place
        cells = cells_by_place()
        both = [cells[place] for place in ALIKE if (place[0], *place[2:]) == (task, *sizes)]
        if best := best_of_each(both, runs):
            return best[both.index(experiment)].runs
    return fitting_runs(plan(experiment, "mini"), runs)


def arms_table(runs: Sequence[LoggedRun]) -> str:
    """In Markdown: of each cell the test scores of every arm, the best on validation in bold."""
    cells, lines = cells_by_place(), []
    head = ["task", "model", "segments", "memory", *NAMES.values()]
    for place in ALIKE:
        cell = cells[place]
        own = arms(cell, runs)
        ran = [arm for arm in own if arm.runs]
        best = max(ran, key=lambda arm: arm.validation) if len(ran) == len(own) else None
        line = [cell.task, cell.model, str(cell.segments), str(cell.memory)]
        for arm in own:
            scores = [run.score for run in arm.runs]
            text = f"{mean_and_spread(scores, 3)} ({len(scores)})" if scores else NOT_RUN
            line.append(f"**{text}**" if arm is best else text)
        lines.append(line)
    return markdown(head, lines, n_words=2)
