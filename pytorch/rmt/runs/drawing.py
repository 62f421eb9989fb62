"""What the figures share: a colour and a marker per model, and PNG files that repeat exactly."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, so that no display is needed

import matplotlib.pyplot as plt

from rmt.models import registry as models
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import over_seeds
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_bytes

# For models that have no look of their own: those that Okabe and Ito's palette has left.
FREE_COLOURS = ("#CC79A7", "#56B4E9", "#F0E442", "#000000")
FREE_MARKERS = "v*X<"


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
    """Write a PNG that depends on nothing but its content. UsageError where that can't be."""
    try:
        if out.suffix != ".png":
            raise UsageError(f"figures are PNG files: end the name {out} in .png")
        out.parent.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=120, metadata={"Software": None})
        write_bytes(out, drawn.getvalue())
    except OSError as error:
        raise UsageError(f"{out} can't be written ({error.strerror})") from None
    finally:
        plt.close(figure)
