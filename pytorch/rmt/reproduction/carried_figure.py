"""Table 3 as a picture: bits per character against the numbers that a model hands on.

A cached state has d_model numbers in every layer, a memory token only d_model. So the table's rows
of equal memory are far from equal here.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from rmt.paper.experiments import ADDED, Row, rows
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import SCALES, plan
from rmt.runs.drawing import DEPTHS, look, plt, save_figure
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import common_text, over_seeds

TABLE, SEGMENT = "table3", 128
TITLES = {"paper": "published", "midi": "ours, midi scale", "mini": "ours, mini scale"}


def draw_by_carried(runs: Sequence[LoggedRun], out: Path) -> None:
    """A panel for the paper and for each of our scales; a line for each model and gradient depth.

    Rows with the table's usual segments. Error bars are standard deviations over seeds.
    """
    wanted = [row for row in rows(TABLE) + ADDED[TABLE] if row.segment_len == SEGMENT]
    figure, axes = plt.subplots(1, len(SCALES), figsize=(12, 4.4), layout="constrained")
    for axis, scale in zip(axes, SCALES, strict=True):
        found = wanted if scale == "paper" else _ours(wanted, scale, runs)
        _draw_lines(axis, [row for row in found if row.score is not None], scale)
        axis.set_title(TITLES[scale] if found else f"{TITLES[scale]}: not run", size=10)
        axis.set_xlabel("numbers carried from segment to segment")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test bits per character (lower is better)")
    named = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    place = {"loc": "outside lower center", "ncols": 5, "fontsize": 9, "frameon": False}
    figure.legend(named.values(), named.keys(), **place)
    save_figure(figure, out)


def _ours(wanted: Sequence[Row], scale: str, runs: Sequence[LoggedRun]) -> list[Row]:
    """The rows that have run, with our scores."""
    fitting = [(row, fitting_runs(plan(row, scale), runs)) for row in wanted]
    common_text([run for _, found in fitting for run in found])
    return [
        replace(row, score=mean, std=std)
        for row, found in fitting
        if found
        for mean, std in (over_seeds(found),)
    ]


def _draw_lines(axis, found: Sequence[Row], scale: str) -> None:
    def line_of(row: Row) -> tuple[str, int]:
        return row.model, row.depth

    for (model, depth), same in groupby(sorted(found, key=line_of), key=line_of):
        same = list(same)
        name, (colour, marker) = model, look(model)
        if same[0].bptt_unrolls is not None:
            name, colour = f"{model}, BPTT-{depth}", DEPTHS[depth]
        points = sorted((plan(row, scale).model.carried.numbers, row) for row in same)
        if not points[0][0]:
            (_, row) = points[0]
            axis.axhline(row.score, color=colour, linestyle="--", label="nothing carried")
            continue
        axis.errorbar(
            [numbers for numbers, _ in points],
            [row.score for _, row in points],
            [row.std or 0 for _, row in points],
            color=colour,
            marker=marker,
            capsize=3,
            label=name,
        )
    axis.set_xscale("log")
