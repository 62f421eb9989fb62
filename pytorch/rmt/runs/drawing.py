"""What the figures share: a colour and a marker per model, and PNG files that repeat exactly."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, so that no display is needed

import matplotlib.pyplot as plt

from rmt.runs.logged_runs import LoggedRun, over_seeds
from rmt.runs.run_folder import write_bytes
from rmt.runtime.errors import UsageError

# Colours that are told apart with any colour vision (Okabe and Ito 2008).
COLOURS = {
    "baseline": "#7f7f7f",
    "mt": "#E69F00",
    "trxl": "#0072B2",
    "rmt": "#D55E00",
    "trxl_rmt": "#009E73",
}
MARKERS = {"baseline": "s", "mt": "^", "trxl": "D", "rmt": "o", "trxl_rmt": "P"}


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
