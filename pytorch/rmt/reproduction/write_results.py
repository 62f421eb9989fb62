"""All tables and figures that are made of the logs in results/runs, written to results/."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rmt.paper.panels import PAPER_FIGURES
from rmt.paper.published import published_cells, task_name
from rmt.reproduction import ledger
from rmt.reproduction.arms import arms_table, headline
from rmt.reproduction.coverage import coverage_table
from rmt.reproduction.paired import changes_table, memory_added_table
from rmt.reproduction.paper_tables import midi_table, paper_table
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.run_tables import tasks_table
from rmt.reproduction.scales import MIDI_TARGETS, SCALES
from rmt.reproduction.side_by_side import side_by_side
from rmt.reproduction.sizes import draw_sizes, is_tested, sizes_table
from rmt.reproduction.studies.gaps import GAPS, gaps_table
from rmt.reproduction.studies.registry import (
    OF_TEXT,
    STUDIES,
    is_complete,
    runs_of_study,
    study_table,
)
from rmt.reproduction.targets import (
    FIGURE_5CD,
    PAPER_TABLES,
    TARGETS,
    experiments,
    plans_for,
    targets_at,
)
from rmt.runs.logged_runs import LoggedRun
from rmt.runtime.files import write_text

IN_README = "table3"
CLAIMS_PAGE = "../../docs/results/claims.md"  # from where the tables are
# Tasks whose learning curves are drawn.
CURVES = ("copy120", "copy360", "retrieval", "quadratic")
# Studies whose runs are tested on samples of other sizes, too (rmt.eval --json RUN/size-N.json).
BY_SIZE = ("associative", "associative_longer", "facts", "minilm")

# Studies that change one thing at a time.
CHANGES = ("as_published", "as_published_reverse", "ablation", "ablation_reverse")


def write_tables(runs: Sequence[LoggedRun], results: Path) -> list[Path]:
    """Write the paper's tables with what has run, the claims at length and in short, tables of all
    runs on the paper's tasks and on associative retrieval, those of studies on text, their GAPS and
    CHANGES where nothing is missing, accuracies by the size of samples, what memory adds to
    pretrained models, and how much there is of everything."""
    folder = results / "tables"
    texts = {name: paper_table(name, runs, folder) for name in PAPER_TABLES}
    texts[f"{IN_README}-short"] = paper_table(IN_README, runs, folder, short=True)
    texts |= {f"{name}-midi": midi_table(name, runs, folder) for name in MIDI_TARGETS}
    judged = ledger.judge(runs)
    texts["claims"] = ledger.details(judged, folder)
    texts["claims-overview"] = ledger.overview(judged, CLAIMS_PAGE)
    texts["claims-verdicts"] = ledger.verdicts(judged)
    texts["claims-short"] = ledger.summary(judged)
    texts["rmt-and-trxl"] = side_by_side(runs)
    names = {cell.task.rstrip("0123456789") for cell in published_cells()}
    on_tasks = [run for run in runs if run.dataset in names]
    texts["tasks"] = tasks_table(on_tasks, published_cells(), with_speed=False) if on_tasks else ""
    texts |= {name: study_table(name, runs) for name in OF_TEXT if is_complete(name, runs)}
    texts["associative"] = study_table("associative", runs)
    texts["arms"] = arms_table(runs)
    texts["memory-added"] = memory_added_table(runs)
    texts |= {f"{name}-gaps": gaps_table(name, runs) for name in GAPS if is_complete(name, runs)}
    texts |= {
        f"changes-{name}": changes_table(name, runs) for name in CHANGES if is_complete(name, runs)
    }
    planned = {target: plans_for([target], "mini") for target in (*TARGETS, *STUDIES)}
    texts["coverage"] = coverage_table(planned, runs)
    texts |= {f"{name}-sizes": sizes_table(tested) for name, tested in _by_size(runs)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / f"{name}.md", text)
    return [folder / f"{name}.md" for name in texts]


def _of_figure(figure: str, scale: str, runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """The runs that are drawn in one of PAPER_FIGURES, each once."""
    if figure not in targets_at(scale):
        return []
    if scale == "mini":
        found = [run for cell in experiments(figure) for run in headline(cell, runs)]
    else:
        found = [run for own in plans_for([figure], scale) for run in fitting_runs(own, runs)]
    return list({run.path: run for run in found}.values())


def _by_size(runs: Sequence[LoggedRun]) -> list[tuple[str, list[LoggedRun]]]:
    """Of BY_SIZE those that have been tested, with their runs."""
    found = [(name, list(filter(is_tested, runs_of_study(name, runs)))) for name in BY_SIZE]
    return [(name, tested) for name, tested in found if tested]


def write_figures(runs: Sequence[LoggedRun], results: Path) -> list[Path]:
    """Draw with what has run the paper's figures, Table 3, the claims and the learning curves of
    CURVES, studies of which nothing is missing, and accuracies by the size of samples."""
    # Imported late: tables need no matplotlib.
    from rmt.reproduction.carried_figure import draw_by_carried
    from rmt.reproduction.claims_figure import draw_claims
    from rmt.reproduction.grid_figure import draw_grid
    from rmt.reproduction.task_figures import draw_accuracy, draw_by_size, draw_paper_figure
    from rmt.reproduction.text_figures import (
        by_part_of_segment,
        draw_by_segment,
        draw_curves,
        draw_figure_5cd,
    )

    folder = results / "figures"
    draw_figure_5cd(runs, folder / f"{FIGURE_5CD}.png")
    names = [FIGURE_5CD]
    for figure in PAPER_FIGURES:
        for scale in SCALES:
            fitting = _of_figure(figure, scale, runs)
            if fitting or scale == "mini":
                names.append(figure if scale == "mini" else f"{figure}-{scale}-scale")
                draw_paper_figure(figure, fitting, folder / f"{names[-1]}.png")
    for task in CURVES:
        if found := [
            run for run in runs if run.is_algorithmic and task_name(run.dataset, run.size) == task
        ]:
            names.append(f"curves-{task}")
            draw_accuracy(found, folder / f"{names[-1]}.png")
    studies = {
        "window": draw_curves,
        "segments": draw_by_segment,
        "segments_scaled": partial(draw_by_segment, line_of=by_part_of_segment),
        "associative": draw_by_size,
        "grid": draw_grid,
    }
    for name, draw in studies.items():
        if is_complete(name, runs):
            names.append(name)
            draw(runs_of_study(name, runs), folder / f"{name}.png")
    draw_claims(ledger.judge(runs), folder / "claims.png")
    draw_by_carried(runs, folder / "table3.png")
    names += ["claims", "table3"]
    for name, tested in _by_size(runs):
        names.append(f"{name}-sizes")
        draw_sizes(tested, folder / f"{name}-sizes.png")
    return [folder / f"{name}.png" for name in names]
