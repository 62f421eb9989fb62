"""Tables from logged runs, in Markdown: python -m rmt.tables TABLE --help

paper: the paper's tables and claims with what has run, written to results/tables.

pages: puts these tables where README.md, results/README.md and docs/results/ have a place for them.

runs: runs on text, a row per configuration: the test score's mean over seeds (and its standard
deviation, from two seeds on), what a segment hands to the next, the speed and the size.

tasks: runs on the algorithmic tasks, a row per configuration, with the authors' accuracy beside it.

labels: runs on texts with labels, a row per configuration over seeds and folds, with published F1.

sizes: runs on a task, a row per configuration, tested on samples of several sizes.

babilong: a model on babilong or facts, by the kind of question and the length of the samples.
"""

from pathlib import Path

from rmt.options.command_line import Parser
from rmt.paper.published import published_cells, published_labels
from rmt.reproduction.babilong import babilong_table
from rmt.reproduction.labels_table import labels_table
from rmt.reproduction.pages import refresh
from rmt.reproduction.run_tables import runs_table, tasks_table
from rmt.reproduction.sizes import sizes_table
from rmt.reproduction.write_results import write_tables
from rmt.runs.logged_runs import finished_runs, read_runs
from rmt.runtime.errors import run_program
from rmt.runtime.files import project_root


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.tables", description=__doc__.splitlines()[0])
    tables = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, of in (
        ("runs", "runs on text"),
        ("tasks", "runs on tasks"),
        ("labels", "runs on texts with labels"),
    ):
        one = tables.add_parser(name, help=of)
        one.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
        one.add_argument(
            "--without_speed", action="store_true", help="for runs that shared their machine"
        )
    sizes = tables.add_parser("sizes", help="runs on a task, tested on samples of several sizes")
    sizes.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    babilong = tables.add_parser("babilong", help="a model on babilong or facts, by length")
    babilong.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="of rmt.eval")
    paper = tables.add_parser("paper", help="write the paper's tables to results/tables")
    paper.add_argument("--results", type=Path, default=project_root() / "results")
    tables.add_parser(
        "pages", help="put the tables into README.md, results/README.md and docs/results/"
    )
    options = parser.parse(argv)
    if options["table"] == "pages":
        print(*refresh(project_root()), sep="\n")
        return
    if options["table"] == "paper":
        results = options["results"]
        print(*write_tables(finished_runs(results / "runs"), results), sep="\n")
        return
    if options["table"] == "babilong":
        print(babilong_table(options["files"]), end="")
        return
    runs, with_speed = read_runs(options["folders"]), not options.get("without_speed")
    match options["table"]:
        case "runs":
            table = runs_table(runs, with_speed)
        case "tasks":
            table = tasks_table(runs, published_cells(), with_speed)
        case "labels":
            table = labels_table(runs, published_labels(), with_speed)
        case "sizes":
            table = sizes_table(runs)
    print(table, end="")


if __name__ == "__main__":
    run_program(main)
