"""Accuracies as a map of colours: rows against sizes of samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmt.runs.drawing import plt, save_figure
from rmt.runs.reports import percent


def draw_map(
    rows: Sequence[str],
    sizes: Sequence[int],
    accuracies: np.ndarray,
    xlabel: str,
    title: str,
    out: Path,
) -> None:
    """From red, 0 %, to green, 100 %, with the numbers in it; accuracies: [rows, sizes]."""
    width = 0.6 + 0.08 * max(map(len, rows)) + 0.8 * len(sizes)
    figure, axis = plt.subplots(figsize=(width, 1.4 + 0.5 * len(rows)), layout="constrained")
    axis.imshow(accuracies, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(accuracies):
        for j, accuracy in enumerate(row):
            axis.text(j, i, percent(accuracy), ha="center", va="center")
    axis.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel(xlabel)
    axis.set_title(title, size=10)
    save_figure(figure, out)
