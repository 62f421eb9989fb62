"""Perplexity by gradient depth and memory, published and ours, as maps of colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmt.paper.experiments import SEGMENT_5CD, rows
from rmt.reproduction.accuracy_map import write_numbers
from rmt.reproduction.studies.text import GRID_DEPTHS, GRID_MEMORIES
from rmt.runs.drawing import plt, save_figure
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import common_text, over_seeds

# Places in the grid: memory, gradient depth.
Scores = dict[tuple[int, int], float]


def draw_grid(runs: Sequence[LoggedRun], out: Path) -> None:
    """The paper's Table 4 beside the runs of the study grid; dark is good, empty is not there."""
    common_text(runs)
    by_place: dict[tuple[int, int], list[LoggedRun]] = {}
    for run in runs:
        by_place.setdefault((run.model.memory, run.train["bptt_unrolls"]), []).append(run)
    published = {
        (row.memory, row.bptt_unrolls): row.score
        for row in rows("table4")
        if row.segment_len == SEGMENT_5CD and row.bptt_unrolls is not None
    }
    ours = {place: over_seeds(same)[0] for place, same in by_place.items()}
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, scores, title in zip(axes, (published, ours), ("published", "ours"), strict=True):
        _draw_map(axis, scores)
        axis.set_title(f"{title}: test perplexity", size=10)
        axis.set_xlabel("gradient through segments before (BPTT)")
    axes[0].set_ylabel("memory tokens")
    save_figure(figure, out)


def _draw_map(axis, scores: Scores) -> None:
    """The lowest is the darkest."""
    values = np.array(
        [[scores.get((m, depth), np.nan) for depth in GRID_DEPTHS] for m in GRID_MEMORIES]
    )
    axis.imshow(values, cmap="viridis", aspect="auto")
    middle = np.nanmean([np.nanmin(values), np.nanmax(values)])
    write_numbers(axis, values, "{:.1f}".format, lambda value: value < middle)
    axis.set_xticks(range(len(GRID_DEPTHS)), map(str, GRID_DEPTHS))
    axis.set_yticks(range(len(GRID_MEMORIES)), map(str, GRID_MEMORIES))
