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

# Mean and standard deviation over seeds, if there is one, by memory and gradient depth.
Scores = dict[tuple[int, int], tuple[float, float | None]]


def draw_grid(runs: Sequence[LoggedRun], out: Path) -> None:
    """The paper's Table 4 beside the runs of the study grid; dark is good, empty is not there.

    Raises UsageError for runs on different texts.
    """
    common_text(runs)
    by_place: dict[tuple[int, int], list[LoggedRun]] = {}
    for run in runs:
        by_place.setdefault((run.model.memory, run.train["bptt_unrolls"]), []).append(run)
    published = {
        (row.memory, row.bptt_unrolls): (row.score, row.std)
        for row in rows("table4")
        if row.segment_len == SEGMENT_5CD and row.bptt_unrolls is not None
    }
    ours = {place: over_seeds(same) for place, same in by_place.items()}
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    (length,) = {run.train["tgt_len"] for run in runs}
    titles = (f"published, segments of {SEGMENT_5CD}", f"mini scale, segments of {length}")
    for axis, scores, title in zip(axes, (published, ours), titles, strict=True):
        _draw_map(axis, scores)
        axis.set_title(title, size=10)
        axis.set_xlabel("gradient through segments before (BPTT)")
    axes[0].set_ylabel("memory tokens")
    figure.suptitle("WikiText-103, RMT: test perplexity ± standard deviation", size=11)
    save_figure(figure, out)


def _draw_map(axis, scores: Scores) -> None:
    """The lowest is the darkest."""
    nothing = (np.nan, None)
    values = np.array(
        [[scores.get((m, depth), nothing)[0] for depth in GRID_DEPTHS] for m in GRID_MEMORIES]
    )
    axis.imshow(values, cmap="viridis", aspect="auto")
    middle = np.nanmean([np.nanmin(values), np.nanmax(values)])

    def shown(place: tuple[int, int]) -> str:
        row, column = place
        mean, deviation = scores[GRID_MEMORIES[row], GRID_DEPTHS[column]]
        return f"{mean:.2f}" + (f"\n± {deviation:.2f}" if deviation else "")

    write_numbers(axis, values, values < middle, shown)
    axis.set_xticks(range(len(GRID_DEPTHS)), map(str, GRID_DEPTHS))
    axis.set_yticks(range(len(GRID_MEMORIES)), map(str, GRID_MEMORIES))
