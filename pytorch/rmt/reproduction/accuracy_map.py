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
    dark = np.abs(accuracies - 0.5) > LIGHT
    write_numbers(axis, accuracies, dark, lambda place: percent(accuracies[place]))
    axis.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel(xlabel)
    axis.set_title(title, size=10)
    save_figure(figure, out)


def write_numbers(
    axis, values: np.ndarray, dark: np.ndarray, shown: Callable[[tuple[int, int]], str]
) -> None:
    """What is shown of each place into the cells of a map, white where these are dark.

    values, dark: [rows, columns]; nothing for what is not a number.
    """
    for place, value in np.ndenumerate(values):
        if not np.isnan(value):
            row, column = place
            colour = "white" if dark[place] else "black"
            axis.text(column, row, shown(place), ha="center", va="center", color=colour)
