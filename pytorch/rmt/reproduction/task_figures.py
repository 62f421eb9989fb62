"""Figures of runs on the algorithmic tasks: the paper's Figures 4, 5 and 7, and learning curves.

In the paper's figures a point is a cell: one model in one setting, averaged over runs. Ours are
filled and joined by solid lines, the published ones hollow and joined by dashed lines.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, groupby
from pathlib import Path

from matplotlib.lines import Line2D

from rmt.data import registry as data
from rmt.models import registry as models
from rmt.paper.panels import MODELS, PAPER_FIGURES, Panel
from rmt.paper.published import Cell, published_cells
from rmt.reproduction.run_tables import place_of
from rmt.runs.drawing import legend_name, look, plt, save_figure
from rmt.runs.logged_runs import LoggedRun, by_configuration, refuse_text
from rmt.runs.reports import over_seeds
from rmt.runtime.errors import UsageError

CHANCE_LINE = {"color": "black", "linewidth": 0.6, "zorder": 0}
MORE_MARKERS = "Xv*hp<>"  # of a model's second, third ... line
PUBLISHED = {"linestyle": (0, (4, 3)), "linewidth": 1, "markerfacecolor": "white"}
THIN = {"linewidth": 0.8, "linestyle": "--"}


# --- the paper's figures -------------------------------------------------------------------------


def draw_paper_figure(name: str, runs: Sequence[LoggedRun], out: Path) -> None:
    """Accuracy of our runs beside the published; name is one of PAPER_FIGURES.

    Runs that belong to no panel are left out.
    """
    panels = PAPER_FIGURES[name]
    ours, published = our_cells(runs), published_cells()
    size = (4.2 * len(panels), 4.2)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    cells = [(panel.cells(ours), panel.cells(published)) for panel in panels]
    looks = _looks({cell.model for both in cells for cell in chain(*both)})
    for axis, panel, (own, theirs) in zip(axes, panels, cells, strict=True):
        draw_panel(axis, panel, own, theirs, looks)
    axes[0].set_ylabel("test accuracy, free running")
    _paper_legend(figure, looks)
    save_figure(figure, out)


def our_cells(runs: Sequence[LoggedRun]) -> list[Cell]:
    """The runs on tasks as cells, as the paper's; those that differ by more than the seed apart."""

    def place(run: LoggedRun) -> tuple:
        task, _, *sizes = place_of(run)
        return task, run.variant, *sizes, run.result["tgt_len"]

    cells = []
    in_paper = [run for run in runs if run.is_task and run.model.model in MODELS]
    for same, added in by_configuration(in_paper, place):
        task, variant, *sizes = place(same[0])
        cells.append(Cell(task, variant + added, *sizes, *over_seeds(same), len(same)))
    return cells


def draw_panel(
    axis, panel: Panel, ours: Sequence[Cell], published: Sequence[Cell], looks: dict[str, dict]
) -> None:
    """Lines of one panel; models stand a little beside each other, so that all are seen."""
    places = sorted({panel.x(cell) for cell in (*ours, *published)})
    position = {x: i for i, x in enumerate(places)}
    for cells, side in ((published, 0.03), (ours, -0.03)):
        is_ours = cells is ours
        for variant in sorted({cell.model for cell in cells}):
            line = sorted((c for c in cells if c.model == variant), key=panel.x)
            shift = 0.12 * (MODELS.index(_model(variant)) - 1.5) + side
            axis.errorbar(
                [position[panel.x(cell)] + shift for cell in line],
                [cell.accuracy for cell in line],
                [cell.std or 0 for cell in line],
                **(looks[variant] if is_ours else looks[variant] | PUBLISHED),
            )
    for chance in {data.find(task.rstrip("0123456789")).chance for task in panel.tasks}:
        axis.axhline(chance, **CHANCE_LINE)
    axis.set_xticks(range(len(places)), [str(x) for x in places])
    n_runs = sum(cell.runs for cell in ours)
    ours_here = f"{n_runs} run{'s' if n_runs > 1 else ''} of ours" if ours else "not run here"
    axis.set_title(f"{panel.title}\n{ours_here}", size=10)
    axis.set(xlabel=panel.xlabel, ylim=(0, 1.08), xlim=(-0.5, len(places) - 0.5))
    axis.grid(axis="y", alpha=0.3)


def _model(variant: str) -> str:
    """The model that "rmt, BPTT-1" is a variant of."""
    return variant.split(",")[0]


def _looks(variants: Iterable[str]) -> dict[str, dict]:
    """How a line of each variant looks, in the order of the legend: the model's colour, and a
    marker and dots for what is not the model itself."""
    looks = {}
    in_order = sorted(variants, key=lambda name: (MODELS.index(_model(name)), name))
    for model, named in groupby(in_order, key=_model):
        styles = _curve_styles(model)
        own = next(styles)
        others = (style | {"linestyle": (0, (1, 1))} for style in styles)
        for name in named:
            look = own if name == model else next(others)
            looks[name] = look | {"markersize": 6, "capsize": 3}
    return looks


def _paper_legend(figure, looks: dict[str, dict]) -> None:
    """Below the panels: a line per model, and what is filled, hollow and thin."""
    handles = []
    for variant, style in looks.items():
        style = {k: v for k, v in style.items() if k != "capsize"}
        handles.append(Line2D([], [], label=variant, **style))
    grey = {"color": "#444444", "marker": "o", "markersize": 6}
    handles += [
        Line2D([], [], label="ours, mean ± standard deviation over seeds", **grey),
        Line2D([], [], label="published", **grey | PUBLISHED),
        Line2D([], [], label="chance", **CHANCE_LINE),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, fontsize=8, frameon=False)


# --- by size ------------------------------------------------------------------------------------


def draw_by_size(runs: Sequence[LoggedRun], out: Path) -> None:
    """Test accuracy against the pairs or symbols of a sample, a line per model and memory.

    Raises UsageError for runs on text, on several tasks, or that differ by more.
    """
    refuse_text(runs, "draw its scores with `rmt.figures segments`")
    if len(names := {run.dataset for run in runs}) > 1:
        raise UsageError(
            f"these runs are on {' and '.join(sorted(names))}: draw one task at a time"
        )
    lines: dict[str, list[list[LoggedRun]]] = {}
    for same, added in by_configuration(runs, lambda run: (run.label, run.size)):
        if added:
            raise UsageError(f"{same[0].path} differs from others of its size{added}")
        lines.setdefault(same[0].label, []).append(same)
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    styles = {model: _curve_styles(model) for model in models.entries()}
    for label, groups in lines.items():
        groups.sort(key=lambda same: same[0].size)
        means, spreads = zip(*map(over_seeds, groups), strict=True)
        axis.errorbar(
            [same[0].size for same in groups],
            means,
            [spread or 0 for spread in spreads],
            label=label,
            capsize=3,
            **next(styles[groups[0][0].model.model]),
        )
    sizes = sorted({run.size for run in runs})
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    if chance := runs[0].task_dataset.chance:
        axis.axhline(chance, **CHANCE_LINE)
    axis.set(xlabel="pairs or symbols of a sample", ylabel="test accuracy", ylim=(0, 1.05))
    axis.set_title(runs[0].dataset)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    save_figure(figure, out)


# --- learning curves -----------------------------------------------------------------------------


def draw_accuracy(runs: Sequence[LoggedRun], out: Path) -> None:
    """Validation accuracy (quadratic: solve rate), a line per run, over time and over samples.

    Thick lines are free running, the thin dashed ones teacher-forced. Runs with the same name, of
    several seeds, look the same and share a place in the legend, which has their mean test score.
    Raises UsageError for runs on text.
    """
    refuse_text(runs, "draw its losses with `rmt.figures curves`")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    settings = {_setting(run) for run in runs}
    styles = {model: _curve_styles(model) for model in models.entries()}

    def name(run: LoggedRun) -> str:
        return f"{_setting(run)}: {run.label}" if len(settings) > 1 else run.label

    for same, added in by_configuration(runs, name):
        label = legend_name(name(same[0]) + added, same)
        style = next(styles[same[0].model.model])
        for run in same:
            _draw_curve(axes, run, style | {"label": label if run is same[0] else None})
    handles, _ = axes[1].get_legend_handles_labels()
    handles.append(Line2D([], [], color="#444444", label="teacher-forced", **THIN))
    chances = {run.task_dataset.chance for run in runs} - {None}
    for i, chance in enumerate(chances):
        lines = [axis.axhline(chance, label="chance", **CHANCE_LINE) for axis in axes]
        handles += lines[:1] if i == 0 else []
    axes[0].set_xlabel("minutes of training")
    axes[0].set_ylabel(f"{_rates(runs)}, free running")
    axes[1].set(xlabel="thousand samples trained on", ylim=(-0.02, 1.05))
    for axis in axes:
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    n_columns = 3 if len(settings) == 1 else 2
    place = {"loc": "outside lower center", "ncols": n_columns, "fontsize": 8, "frameon": False}
    figure.legend(handles=handles, **place)
    where = f"{min(settings)}: " if len(settings) == 1 else ""
    figure.suptitle(f"{where}validation samples", fontsize=11)
    save_figure(figure, out)


def _curve_styles(model: str) -> Iterator[dict]:
    """The model's colour with one marker after the other, its own first."""
    colour, marker = look(model)
    return ({"color": colour, "marker": m} for m in cycle(marker + MORE_MARKERS))


def _setting(run: LoggedRun) -> str:
    segments = run.result["segments"]
    return f"{run.setting}, {segments} segment{'s' if segments > 1 else ''}"


def _rates(runs: Sequence[LoggedRun]) -> str:
    names = {run.headline.replace("_", " ") for run in runs}
    return " or ".join(sorted(names))


def _draw_curve(axes, run: LoggedRun, style: dict) -> None:
    rate = run.headline
    points = [entry for entry in run.metrics if entry["kind"] == "valid"]
    minutes = [entry["seconds"] / 60 for entry in points]
    samples = [entry["step"] * run.train["batch_size"] / 1000 for entry in points]
    for axis, x in zip(axes, (minutes, samples), strict=True):
        forced = [entry[f"forced_{rate}"] for entry in points]
        axis.plot(x, forced, color=style["color"], **THIN)
        axis.plot(x, [entry[rate] for entry in points], markersize=4, **style)
