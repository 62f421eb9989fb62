"""Figures from logged runs: python -m rmt.figures FIGURE ... --out FILE.png

curves     losses of runs on text against the tokens trained on
segments   scores of runs on text against the length of their segments
accuracy   accuracy of runs on algorithmic tasks against training time
size       accuracy of runs on tasks against the size of their samples: pairs or symbols
sizes      the same of runs that were tested on samples of several sizes, as a map of colours
babilong   accuracy of one model on babilong or facts by kind and length, from files of rmt.eval
           --json
figure4, figure5, figure7   our runs on the tasks beside the paper's
paper      all figures of the paper with what has run, written to results/figures
attention  what the heads of one run attend to, and the memory operations among it
context    what the past is worth to runs on text: losses by position in a segment, and by how many
           segments were read before
"""

from pathlib import Path

from rmt.options.command_line import Parser
from rmt.paper.panels import PAPER_FIGURES
from rmt.reproduction.babilong import draw_babilong
from rmt.reproduction.sizes import draw_sizes
from rmt.reproduction.task_figures import draw_accuracy, draw_by_size, draw_paper_figure
from rmt.reproduction.text_figures import draw_by_segment, draw_curves
from rmt.reproduction.write_results import write_figures
from rmt.runs.logged_runs import finished_runs, read_runs
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root

# Figures of any runs.
DRAWN = {
    "curves": draw_curves,
    "segments": draw_by_segment,
    "accuracy": draw_accuracy,
    "size": draw_by_size,
    "sizes": draw_sizes,
}


def main(argv: list[str]) -> None:
    options = parse(argv)
    figure, out = options["figure"], options.get("out")
    if figure == "attention":
        written = attention(options)
    elif figure == "context":
        from rmt.analysis.context_picture import draw_context  # late, too

        written = draw_context(
            options["work_dir"], options["text"], options["history"], options["segments"], out
        )
    elif figure == "babilong":
        draw_babilong(options["files"], out)
        written = [out]
    elif figure == "paper":
        written = write_figures(finished_runs(options["results"] / "runs"), options["results"])
    else:
        folders, written = options["folders"], [out]
        runs = read_runs(folders) if folders else []
        if figure in PAPER_FIGURES:
            draw_paper_figure(figure, runs, out)
        else:
            DRAWN[figure](runs, out)
    print(*written, sep="\n")


def attention(options: dict) -> list[Path]:
    """On a test sample of a task, or on a text."""
    # Late: the other figures need no model.
    from rmt.analysis.draw import draw_attention
    from rmt.analysis.draw_text import draw_text_attention

    work_dir, sample, text = options["work_dir"], options["sample"], options["text"]
    if text is None:
        return draw_attention(work_dir, sample or 0, options["out"])
    if sample is not None:
        raise UsageError("sample is for runs on tasks: leave it out with --text")
    return draw_text_attention(work_dir, text, options["segments"], options["out"])


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.figures", description=__doc__)
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for name in (*DRAWN, *PAPER_FIGURES):
        one = figures.add_parser(name)
        # The paper's figures can do without runs of ours.
        n_folders = "*" if name in PAPER_FIGURES else "+"
        one.add_argument("folders", nargs=n_folders, type=Path, metavar="FOLDER")
        one.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    babilong = figures.add_parser("babilong")
    babilong.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    babilong.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    paper = figures.add_parser("paper")
    paper.add_argument("--results", type=Path, default=project_root() / "results")
    attention = figures.add_parser("attention")
    attention.add_argument("--work_dir", type=Path, required=True, help="run folder")
    attention.add_argument("--sample", type=int, help="test sample of a task (default: 0)")
    attention.add_argument("--text", metavar="FILE", help="a text to read, for a run on text")
    attention.add_argument(
        "--segments", type=int, default=100, help="segments of the text to read (default: 100)"
    )
    attention.add_argument(
        "--out", type=Path, metavar="FILE.png", help="default: in the run folder"
    )
    context = figures.add_parser("context")
    context.add_argument(
        "--work_dir", type=Path, required=True, nargs="+", metavar="RUN", help="run folders"
    )
    context.add_argument("--text", metavar="FILE", help="default: the test text of the runs")
    context.add_argument(
        "--history", type=int, default=16, help="most segments read before one (default: 16)"
    )
    context.add_argument(
        "--segments", type=int, default=100, help="segments to predict (default: 100)"
    )
    context.add_argument(
        "--out", type=Path, metavar="FILE.png", help="default: in the first run's folder"
    )
    return parser.parse(argv)


if __name__ == "__main__":
    run_program(main)
