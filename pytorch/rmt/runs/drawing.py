"""What the figures share: a colour and a marker per model, and PNG files that repeat exactly."""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # files only, so that no display is needed

import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FixedLocator

from rmt.models import registry as models
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import over_seeds
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_bytes

# For models that have no look of their own: those that Okabe and Ito's palette has left.
FREE_COLOURS = ("#56B4E9", "#F0E442", "#000000")
FREE_MARKERS = "*X<"
# RMT's lines by gradient depth: from light to dark.
DEPTHS = {0: "#f6c9a5", 1: "#f0a367", 2: "#e5803a", 3: "#D55E00", 4: "#8c3d00"}


def look(model: str) -> tuple[str, str]:
    """A model's colour and marker, in all figures the same."""
    entry = models.find(model)
    without = [name for name, own in models.entries().items() if own.colour is None]
    i = without.index(model) if model in without else 0
    colour = entry.colour or FREE_COLOURS[i % len(FREE_COLOURS)]
    return colour, entry.marker or FREE_MARKERS[i % len(FREE_MARKERS)]


def legend_name(name: str, runs: Sequence[LoggedRun]) -> str:
    """What a legend says of runs of one configuration: their number and mean test score, too."""
    score, _ = over_seeds(runs)
    how_many = f" ({len(runs)} runs)" if len(runs) > 1 else ""
    return f"{name}{how_many}: test {score:.{runs[0].digits}f}"


def save_figure(figure, out: Path) -> None:
    """Write a PNG that depends on nothing but its content, whose digest is its Description.

    UsageError where that can't be.
    """
    try:
        check_name(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        about = {"Software": None, "Description": f"drawn: {digest(figure)}"}
        figure.savefig(drawn, dpi=120, metadata=about)
        write_bytes(out, drawn.getvalue())
    except OSError as error:
        raise UsageError(f"{out} can't be written ({error.strerror})") from None
    finally:
        plt.close(figure)


def with_glyphs(text: str) -> str:
    """The text with the code of every character that the font has not, as <4e2d>."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else f"<{ord(c):02x}>" for c in text)


def check_name(out: Path) -> None:
    """Raise UsageError for a file that is no PNG by its name."""
    if out.suffix != ".png":
        raise UsageError(f"figures are PNG files: end the name {out} in .png")


def digest(figure) -> str:
    """SHA-256 of what is drawn: lines, points, error bars, images, names of ticks, all texts.

    Other versions of matplotlib and other fonts make other pixels of the same figure, but the same
    digest: it tells whether a picture is that of these numbers. They count to six digits.
    """
    parts = [_texts(figure.texts), *(_texts(legend.get_texts()) for legend in figure.legends)]
    for axes in figure.axes:
        legend = axes.get_legend()
        parts.append([axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *_texts(axes.texts)])
        parts.append(_texts(legend.get_texts()) if legend else [])
        parts += [_names_of_ticks(axis) for axis in (axes.xaxis, axes.yaxis)]
        for line in axes.get_lines():
            look_of_it = [to_hex(line.get_color()), str(line.get_marker())]
            parts.append([*look_of_it, *_numbers(line.get_xydata())])
        for several in axes.collections:
            is_bars = isinstance(several, LineCollection)
            places = several.get_segments() if is_bars else [several.get_offsets()]
            parts.append([number for place in places for number in _numbers(place)])
        parts += [_numbers(np.ma.filled(image.get_array(), np.nan)) for image in axes.images]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _texts(artists: Iterable) -> list[str]:
    return [artist.get_text() for artist in artists]


def _names_of_ticks(axis) -> list[str]:
    """Where we chose them; matplotlib's own choice may change with its version."""
    locator = axis.get_major_locator()
    is_ours = isinstance(locator, FixedLocator)
    return axis.get_major_formatter().format_ticks(locator()) if is_ours else []


def _numbers(values) -> list[str]:
    return [f"{value:.6g}" for value in np.ravel(values)]
