"""Accuracies as a map of colours: rows against sizes of samples."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rmt.runs.drawing import plt, save_figure
from rmt.runs.reports import percent

LIGHT = 0.35  # around 0.5: of the map's colours those that are light


def draw_map(
    rows: Sequence[str],
    sizes: Sequence[int],
    accuracies: np.ndarray,
    xlabel: str,
    title: str,
    out: Path,
) -> None:
    """From red, 0 %, to blue, 100 %, with the numbers in it; accuracies: [rows, sizes].

    Colour-blind people tell these two apart.
    """
    width = 0.6 + 0.08 * max(map(len, rows)) + 0.8 * len(sizes)
    figure, axis = plt.subplots(figsize=(width, 1.4 + 0.5 * len(rows)), layout="constrained")
    axis.imshow(accuracies, cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    write_numbers(axis, accuracies, percent, lambda accuracy: abs(accuracy - 0.5) > LIGHT)
    axis.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel(xlabel)
    axis.set_title(title, size=10)
    save_figure(figure, out)


def write_numbers(
    axis, values: np.ndarray, shown: Callable[[float], str], is_dark: Callable[[float], bool]
) -> None:
    """Into the cells of a map, white where these are dark; none for what is not a number."""
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if is_dark(value) else "black"
            axis.text(j, i, shown(value), ha="center", va="center", color=colour)
