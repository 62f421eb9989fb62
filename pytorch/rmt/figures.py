"""Figures from logged runs: python -m rmt.figures curves FOLDER... --out FILE.png

curves draws the losses of training and validation against the tokens trained on.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, so that no display is needed

import matplotlib.pyplot as plt

from rmt.cli import Parser
from rmt.errors import UsageError, run_program
from rmt.logged_runs import LoggedRun, read_runs
from rmt.metrics import bits_per_character, perplexity


def draw_curves(runs: list[LoggedRun], out: Path) -> None:
    """Training loss beside validation loss, a line per run; the test score is in the legend."""
    if len({run.word_level for run in runs}) > 1:
        raise UsageError("perplexities and bits per character share no axis: draw a figure of each")
    word_level = runs[0].word_level
    unit, convert = ("ppl", perplexity) if word_level else ("bpc", bits_per_character)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for run in runs:
        label = f"{run.label}: test {run.score:.{2 if word_level else 3}f}"
        for axis, kind in zip(axes, ("train", "valid"), strict=True):
            points = [entry for entry in run.metrics if entry["kind"] == kind]
            tokens = [entry["tokens"] / 1e6 for entry in points]
            losses = [convert(entry["loss"]) for entry in points]
            axis.plot(tokens, losses, label=label, marker="o" if kind == "valid" else "", ms=3)
    for axis, title in zip(axes, ("training (with dropout)", "validation"), strict=True):
        axis.set(title=title, xlabel="million tokens trained on")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"{unit} (lower is better)")
    if word_level:
        axes[0].set_yscale("log")
    # The first steps are far above everything that is worth comparing.
    drawn = [y for axis in axes for line in axis.get_lines() for y in line.get_ydata()]
    lowest = min(drawn, default=1)
    axes[0].set_ylim(lowest * 0.97, lowest * (4 if word_level else 1.35))
    axes[1].legend(fontsize=8)
    save_figure(figure, out)


def save_figure(figure, out: Path) -> None:
    """Write a PNG that depends on nothing but its content."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=120, metadata={"Software": None})
    except OSError as error:
        raise UsageError(f"{out} can't be written ({error.strerror})") from None
    finally:
        plt.close(figure)


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.figures", description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=["curves"], help="curves: losses against tokens")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    options = parser.parse(argv)
    draw_curves(read_runs(options["folders"]), options["out"])
    print(options["out"])


if __name__ == "__main__":
    run_program(main)
