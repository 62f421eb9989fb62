"""Logged runs as the paper's Tables 1 to 4: each row with the published score and ours.

All of it comes from files under results/, so that making it again gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.data.metrics import METRICS
from rmt.paper.experiments import ADDED, SEGMENT_5CD, TABLES, UNITS, Experiment, Row, rows
from rmt.paper.panels import PAPER_FIGURES
from rmt.paper.published import figure_cells, published_cells, table_cells, task_name
from rmt.reproduction import ledger
from rmt.reproduction.arms import arms_table, headline
from rmt.reproduction.coverage import coverage_table
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.run_tables import tasks_table
from rmt.reproduction.scales import MIDI_TARGETS, SCALES, describe_midi, describe_mini, plan
from rmt.reproduction.side_by_side import side_by_side
from rmt.reproduction.sizes import draw_sizes, is_tested, sizes_table
from rmt.reproduction.studies.registry import (
    OF_TEXT,
    STUDIES,
    is_complete,
    runs_of_study,
    study_table,
)
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, common_text, links, markdown, mean_and_spread, over_seeds
from rmt.runtime.files import write_text

PAPER_TABLES = ("table1", *TABLES)
FIGURE_5CD = "figure5cd"
TARGETS = (*PAPER_TABLES, *PAPER_FIGURES, FIGURE_5CD)
# What a table of text has in the README: the published scores and those at mini scale.
SHORT = ("model", "memory", "segment", "paper bpc", "paper ppl", "mini", "mini seeds")
IN_README = "table3"
CLAIMS_PAGE = "../../docs/results/claims.md"  # from where the tables are
ENOUGH = 8  # rows: the fewer, the more often orders agree by chance
# Tasks whose learning curves are drawn.
CURVES = ("copy120", "copy360", "retrieval", "quadratic")
# Studies whose runs are tested on samples of other sizes, too (rmt.eval --json RUN/size-N.json).
BY_SIZE = ("associative", "associative_longer", "facts", "minilm")


def experiments(target: str) -> list[Experiment]:
    """The rows of a table, or the points of a figure, in the paper's order; then what we added."""
    if target in TABLES:
        return rows(target) + ADDED.get(target, [])
    if target == "table1":
        return table_cells()
    if target == FIGURE_5CD:
        return [row for row in rows("table4") if row.segment_len == SEGMENT_5CD]
    cells = figure_cells()
    return [cell for panel in PAPER_FIGURES[target] for cell in panel.cells(cells)]


def targets_at(scale: str) -> tuple[str, ...]:
    """The paper's tables and figures that there are plans for at a scale."""
    return MIDI_TARGETS if scale == "midi" else TARGETS


def plans_for(targets: Sequence[str], scale: str, with_data: bool = True) -> list[Plan]:
    """What has to be trained for these targets or studies (whose scale is mini), each once."""
    return each_once([plans_of(target, scale, with_data) for target in targets])


def plans_of(target: str, scale: str, with_data: bool) -> list[Plan]:
    """The same of one target; none for a study of text where there is no text."""
    if target in STUDIES:
        return STUDIES[target](with_data)
    return [plan(experiment, scale, with_data) for experiment in experiments(target)]


def each_once(several: Iterable[Sequence[Plan]]) -> list[Plan]:
    """All plans; of those that share a name, and so their runs, the first."""
    found = {}
    for plans in several:
        for own in plans:
            found.setdefault(own.name, own)
    return list(found.values())


# --- tables --------------------------------------------------------------------------------------


def paper_table(
    name: str,
    runs: Sequence[LoggedRun],
    folder: Path,
    with_data: bool = True,
    short: bool = False,
) -> str:
    """A table of PAPER_TABLES in Markdown with a line on what mini scale is.

    folder: where it is kept, to which links are relative. with_data: as of scales.plan. short: of
    Tables 2 to 4, the columns in SHORT alone.
    """
    if name == "table1":
        return _accuracies(runs, folder)
    return _scores_of_text(name, runs, folder, with_data, short)


@dataclass(frozen=True)
class _Ours:
    """Our runs of one row at one scale."""

    runs: Sequence[LoggedRun]

    @property
    def mean(self) -> float:
        return over_seeds(self.runs)[0]

    @property
    def score(self) -> str:
        scores = [run.score for run in self.runs]
        return mean_and_spread(scores, self.runs[0].digits) if scores else NOT_RUN

    @property
    def seeds(self) -> str:
        return str(len(self.runs)) if self.runs else ""

    def difference(self, published: float | None) -> str:
        if published is None or not self.runs:
            return ""
        return f"{self.mean - published:+.{self.runs[0].digits}f}"


def _accuracies(runs: Sequence[LoggedRun], folder: Path) -> str:
    head = ["model", "memory", "segments", "paper", "ours", "difference", "seeds"]
    head += ["fast recipe", "difference", "seeds", "logs"]
    lines = []
    for cell in table_cells():
        full, fast = (_Ours(fitting_runs(plan(cell, scale), runs)) for scale in ("paper", "mini"))
        line = [
            cell.model,
            str(cell.memory),
            str(cell.segments),
            _published(cell.accuracy, cell.std),
        ]
        line += [full.score, full.difference(cell.accuracy), full.seeds]
        line += [fast.score, fast.difference(cell.accuracy), fast.seeds]
        lines.append([*line, links([*full.runs, *fast.runs], folder)])
    return (
        "Share of solved equations, free running. ours: with the paper's settings; fast recipe: "
        f"with those of --recipe fast.\n\n{markdown(head, lines)}"
    )


def _scores_of_text(
    name: str, runs: Sequence[LoggedRun], folder: Path, with_data: bool, short: bool
) -> str:
    metric = UNITS[TABLES[name]]
    digits = next(own.digits for own in METRICS if own.name == metric)
    ours = []
    for row in experiments(name):
        full = fitting_runs(plan(row, "paper"), runs)
        mini = fitting_runs(plan(row, "mini", with_data), runs)
        ours.append((row, _Ours(full), _Ours(mini)))
    common_text([run for _, full, _ in ours for run in full.runs])
    text = common_text([run for _, _, mini in ours for run in mini.runs])
    places = _places([(row, mini) for row, _, mini in ours if mini.runs])
    lines = []
    for row, full, mini in ours:
        in_paper, here = (f"{place:g}" for place in places[row]) if row in places else ("", "")
        line = {
            "model": row.name,
            "memory": str(row.memory) + (f", cache {row.cache}" if row.cache else ""),
            "segment": str(row.segment_len),
            f"paper {metric}": _published(row.score, row.std, digits),
            "ours": full.score,
            "difference": full.difference(row.score),
            "seeds": full.seeds,
            "mini": mini.score,
            "mini seeds": mini.seeds,
            "place in paper": in_paper,
            "place in mini": here,
            "logs": links([*full.runs, *mini.runs], folder),
        }
        lines.append({name: line[name] for name in line if not short or name in SHORT})
    table = markdown(list(lines[0]), [list(line.values()) for line in lines])
    return f"{describe_mini(TABLES[name], text)}\n\n{table}" + _agreement(places)


def midi_table(name: str, runs: Sequence[LoggedRun], folder: Path) -> str:
    """One of MIDI_TARGETS in Markdown: the published scores and those at midi scale."""
    ours = [(row, _Ours(fitting_runs(plan(row, "midi"), runs))) for row in experiments(name)]
    text = common_text([run for _, midi in ours for run in midi.runs])
    places = _places([(row, midi) for row, midi in ours if midi.runs])
    metric = UNITS[TABLES[name]]
    head = ["model", "memory", "segment", f"paper {metric}", "midi", "seeds", "numbers carried"]
    head += ["place in paper", "place in midi", "logs"]
    lines = []
    for row, midi in ours:
        in_paper, here = (f"{place:g}" for place in places[row]) if row in places else ("", "")
        line = [row.name, str(row.memory), str(row.segment_len)]
        line += [_published(row.score, row.std, 3), midi.score, midi.seeds]
        line += [f"{plan(row, 'midi').model.carried.numbers:,}"]
        lines.append([*line, in_paper, here, links(midi.runs, folder)])
    return f"{describe_midi(text)}\n\n{markdown(head, lines)}{_agreement(places, 'midi')}"


def _published(score: float | None, std: float | None, digits: int | None = None) -> str:
    """As many digits as were printed, where the table has its own."""
    if score is None:
        return ""
    form = f".{digits}f" if digits else "g"
    return f"{score:{form}}" + (f" ± {std:{form}}" if std is not None else "")


def _places(ours: Sequence[tuple[Row, _Ours]]) -> dict[Row, tuple[float, float]]:
    """Each published row's place in the paper and here among those of the same segment, from the
    lowest score on; equal scores share the mean of theirs.

    Rows that are one configuration count once, with what the authors got.
    """
    places = {}
    for length in {row.segment_len for row, _ in ours}:
        # The later of two rows is the authors' own run.
        same = {
            (row.model, *row.flags.values()): (row, mini.mean)
            for row, mini in ours
            if row.segment_len == length and row.score is not None
        }
        kept = [row for row, _ in same.values()]
        both = _ranks([row.score for row in kept]), _ranks([mean for _, mean in same.values()])
        places |= dict(zip(kept, zip(*both, strict=True), strict=True))
    return places


def _ranks(scores: Sequence[float]) -> list[float]:
    """1 for the lowest; equal ones have the mean of their places."""
    values = np.array(scores)
    below, equal = values[:, None] > values, values[:, None] == values
    return (below.sum(1) + (equal.sum(1) + 1) / 2).tolist()


def _agreement(places: dict[Row, tuple[float, float]], scale: str = "mini") -> str:
    """A line on how far the two orders agree, for every segment length with ENOUGH rows."""
    lines = []
    for length in sorted({row.segment_len for row in places}):
        pairs = [both for row, both in places.items() if row.segment_len == length]
        if len(pairs) >= ENOUGH:
            agreement = np.corrcoef(np.array(pairs).T)[0, 1]
            lines.append(f"segment {length}: {agreement:.2f} ({len(pairs)} rows)")
    return (
        f"\nSpearman's rank correlation of paper and {scale}, {'; '.join(lines)}.\n"
        if lines
        else ""
    )


# --- files ---------------------------------------------------------------------------------------


def write_tables(runs: Sequence[LoggedRun], results: Path) -> list[Path]:
    """Write the paper's tables with what has run, the claims at length and in short, tables of all
    runs on the paper's tasks and on associative retrieval, those of studies on text of which
    nothing is missing, accuracies by the size of samples, and how much there is of everything."""
    folder = results / "tables"
    texts = {name: paper_table(name, runs, folder) for name in PAPER_TABLES}
    texts[f"{IN_README}-short"] = paper_table(IN_README, runs, folder, short=True)
    texts |= {f"{name}-midi": midi_table(name, runs, folder) for name in MIDI_TARGETS}
    judged = ledger.judge(runs)
    texts["claims"] = ledger.details(judged, folder)
    texts["claims-overview"] = ledger.overview(judged, CLAIMS_PAGE)
    texts["claims-short"] = ledger.summary(judged)
    texts["rmt-and-trxl"] = side_by_side(runs)
    names = {cell.task.rstrip("0123456789") for cell in published_cells()}
    on_tasks = [run for run in runs if run.dataset in names]
    texts["tasks"] = tasks_table(on_tasks, published_cells(), with_speed=False) if on_tasks else ""
    texts |= {name: study_table(name, runs) for name in OF_TEXT if is_complete(name, runs)}
    texts["associative"] = study_table("associative", runs)
    texts["arms"] = arms_table(runs)
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
    from rmt.reproduction.text_figures import draw_by_segment, draw_curves, draw_figure_5cd

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
