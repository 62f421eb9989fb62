"""Figures from logged runs: python -m rmt.figures FIGURE ... --out FILE.png

curves     losses of runs on text against the tokens trained on
accuracy   accuracy of runs on algorithmic tasks against training time
figure4, figure5, figure7   our runs on the tasks beside the paper's
attention  what the heads of one run on a task attend to, and the memory operations among it
"""

import argparse
from pathlib import Path

from rmt.cli import Parser
from rmt.drawing import plt, save_figure
from rmt.errors import UsageError, run_program
from rmt.logged_runs import LoggedRun, read_runs, refuse_tasks
from rmt.metrics import bits_per_character, perplexity
from rmt.task_figures import PAPER_FIGURES, draw_accuracy, draw_paper_figure


def draw_curves(runs: list[LoggedRun], out: Path) -> None:
    """Training loss beside validation loss, a line per run; the test score is in the legend.

    Raises UsageError for runs on algorithmic tasks, and for words and characters together.
    """
    refuse_tasks(runs, "draw it with `rmt.figures accuracy`")
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


def draw_attention(work_dir: Path, sample: int, out: Path | None) -> list[Path]:
    """Draw a run's attention on a test sample and print the patterns; returns the files written.

    out: FILE.png; the patterns go to FILE-patterns.png. None: into the run folder.
    """
    # Imported late: the other figures need no model.
    from rmt.attention_capture import load_run, maps_of_sample
    from rmt.attention_figures import draw_maps, draw_patterns, patterns_table, strongest_of_each
    from rmt.attention_maps import find_patterns

    out = out or work_dir / f"attention-sample{sample}.png"
    large = out.with_name(f"{out.stem}-patterns{out.suffix}")
    run = load_run(work_dir)
    segments = maps_of_sample(run, sample)
    patterns = find_patterns(segments)
    title = f"{run.label} (test sample {sample})"
    draw_maps(segments, patterns, title, out)
    large.unlink(missing_ok=True)  # an earlier model may have had patterns
    if not patterns:
        print("no pattern found")
        return [out]
    print(patterns_table(patterns), end="")
    draw_patterns(segments, strongest_of_each(patterns), title, large)
    return [out, large]


def main(argv: list[str]) -> None:
    options = parse(argv)
    figure, out = options["figure"], options["out"]
    if figure == "attention":
        written = draw_attention(options["work_dir"], options["sample"], out)
    else:
        folders, written = options["folders"], [out]
        runs = read_runs(folders) if folders else []
        if figure in PAPER_FIGURES:
            draw_paper_figure(figure, runs, out)
        else:
            {"curves": draw_curves, "accuracy": draw_accuracy}[figure](runs, out)
    print(*written, sep="\n")


def parse(argv: list[str]) -> dict:
    parser = Parser(
        prog="python -m rmt.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for name in ("curves", "accuracy", *PAPER_FIGURES):
        one = figures.add_parser(name)
        # The paper's figures can do without runs of ours.
        n_folders = "*" if name in PAPER_FIGURES else "+"
        one.add_argument("folders", nargs=n_folders, type=Path, metavar="FOLDER")
        one.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    attention = figures.add_parser("attention")
    attention.add_argument("--work_dir", type=Path, required=True, help="run folder")
    attention.add_argument("--sample", type=int, default=0, help="test sample (default: 0)")
    attention.add_argument(
        "--out", type=Path, metavar="FILE.png", help="default: in the run folder"
    )
    return parser.parse(argv)


if __name__ == "__main__":
    run_program(main)
