"""Figures of runs on text: losses while training, scores by segment length, and the paper's Figures
5(c) and (d)."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rmt.data.metrics import Metric
from rmt.paper.experiments import SEGMENT_5CD as SEGMENT
from rmt.paper.experiments import Row, rows
from rmt.paper.panels import LEVEL_5D, LINES_5D
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import MINI_SEGMENT, plan
from rmt.reproduction.studies.text import PARTS_OF_SEGMENT
from rmt.runs.drawing import DEPTHS, legend_name, look, plt, save_figure
from rmt.runs.logged_runs import LoggedRun, by_configuration, refuse_tasks
from rmt.runs.reports import common_text, over_seeds
from rmt.runtime.errors import UsageError

WIDE = 65  # letters: of longer names in a legend no two fit side by side


def draw_curves(runs: list[LoggedRun], out: Path) -> None:
    """Training loss beside validation loss, a line per run.

    Runs that differ by their seed alone look the same and share a place in the legend, which has
    their mean test score. Raises UsageError for runs on algorithmic tasks or on different texts.
    """
    metric = _metric(runs)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for i, (same, added) in enumerate(by_configuration(runs, lambda run: run.label)):
        label = legend_name(same[0].label + added, same)
        style = {"color": f"C{i % 10}", "linestyle": "-" if i < 10 else "--"}
        for run in same:
            for axis, kind in zip(axes, ("train", "valid"), strict=True):
                points = [entry for entry in run.metrics if entry["kind"] == kind]
                tokens = [entry["tokens"] / 1e6 for entry in points]
                losses = [metric.of_loss(entry["loss"]) for entry in points]
                marker = {"marker": "o" if kind == "valid" else "", "ms": 3}
                shown = {"label": label if run is same[0] else None}
                axis.plot(tokens, losses, **style, **marker, **shown)
    for axis, title in zip(axes, ("training (with dropout)", "validation"), strict=True):
        axis.set(title=title, xlabel="million tokens trained on")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"{metric.name} (lower is better)")
    if metric.grows_fast:
        axes[0].set_yscale("log")
    # The first steps are far above everything that is worth comparing.
    drawn = [y for axis in axes for line in axis.get_lines() for y in line.get_ydata()]
    lowest = min(drawn, default=1)
    axes[0].set_ylim(lowest * 0.97, lowest * (4 if metric.grows_fast else 1.35))
    handles, labels = axes[1].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 2, "fontsize": 8, "frameon": False}
    if max(map(len, labels), default=0) > WIDE:
        place["ncols"] = 1
        figure.set_figheight(3.2 + 0.2 * len(labels))
    figure.legend(handles, labels, **place)
    save_figure(figure, out)


def draw_by_segment(
    runs: list[LoggedRun],
    out: Path,
    line_of: Callable[[LoggedRun], str] = operator.attrgetter("label"),
) -> None:
    """Test score against the length of the segments, with the spread over seeds.

    line_of: which line a run belongs to, for people. Of a model's lines the first is solid.
    Raises UsageError as draw_curves, and for runs that differ by more.
    """
    metric = _metric(runs)
    lines: dict[str, list[tuple[int, list[LoggedRun]]]] = {}
    for same, added in by_configuration(runs, lambda run: (run.label, run.train["tgt_len"])):
        if added:
            raise UsageError(f"{same[0].path} differs from others of its length{added}")
        lines.setdefault(line_of(same[0]), []).append((same[0].train["tgt_len"], same))
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    drawn = set()
    for label, points in lines.items():
        lengths, groups = zip(*sorted(points), strict=True)
        means, stds = zip(*map(over_seeds, groups), strict=True)
        model = groups[0][0].model.model
        colour, marker = look(model)
        style = {"linestyle": "--", "markerfacecolor": "white"} if model in drawn else {}
        drawn.add(model)
        axis.errorbar(
            lengths,
            means,
            [std or 0 for std in stds],
            color=colour,
            marker=marker,
            label=label,
            capsize=3,
            **style,
        )
    lengths = sorted({length for points in lines.values() for length, _ in points})
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    axis.set(xlabel="tokens in a segment", ylabel=f"test {metric.name} (lower is better)")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    save_figure(figure, out)


def by_part_of_segment(run: LoggedRun) -> str:
    """A line of draw_by_segment: the model, whose memory may grow with the segments."""
    if run.model.memory * PARTS_OF_SEGMENT != run.train["tgt_len"]:
        return run.label
    return run.label.replace(f" {run.model.memory}", f" 1/{PARTS_OF_SEGMENT} of a segment", 1)


def _metric(runs: Sequence[LoggedRun]) -> Metric:
    """What the runs are compared by."""
    refuse_tasks(runs, "draw it with `rmt.figures accuracy`")
    common_text(runs)
    return runs[0].metric


# --- Figures 5(c) and (d) ------------------------------------------------------------------------


def draw_figure_5cd(runs: Sequence[LoggedRun], out: Path) -> None:
    """Perplexity against what a model sees in training, and against memory: published and mini.

    From the rows of Table 4 with segments of 50; below the published ones those of ours that have
    run, with the spread over seeds.
    """
    published = [row for row in rows("table4") if row.segment_len == SEGMENT]
    fitting = [(row, fitting_runs(plan(row, "mini"), runs)) for row in published]
    common_text([run for _, found in fitting for run in found])
    ours = []
    for row, found in fitting:
        if found:
            mean, std = over_seeds(found)
            ours.append(replace(row, score=mean, std=std, segment_len=MINI_SEGMENT[SEGMENT]))
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for (by_context, by_memory), found in zip(axes, (published, ours), strict=True):
        _draw_by_context(by_context, found)
        _draw_by_memory(by_memory, found)
        for axis in (by_context, by_memory):
            axis.set_ylabel("test perplexity (lower is better)")
            axis.grid(alpha=0.3)
    for panel, axis in zip("cd", axes[0], strict=True):
        axis.set_title(f"({panel}) published, segment {SEGMENT}")
    where = f"ours at mini scale, segment {MINI_SEGMENT[SEGMENT]}" if ours else "ours: not run"
    for panel, axis in zip("cd", axes[1], strict=True):
        axis.set_title(f"({panel}) {where}")
    handles, labels = axes[0][1].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 4, "fontsize": 8, "frameon": False}
    figure.legend(handles, labels, **place)
    save_figure(figure, out)


def _draw_by_context(axis, found: Sequence[Row]) -> None:
    """A point per row; its size grows with the memory."""
    for row in found:
        size = 25 + 2 * row.memory
        colour, marker = look(row.model)
        colour = colour if row.bptt_unrolls is None else DEPTHS[row.bptt_unrolls]
        style = {"marker": marker, "color": colour, "alpha": 0.7}
        axis.scatter([row.visible_context], [row.score], s=size, **style)
    axis.set_xlabel("tokens that a prediction can depend on in training")


def _draw_by_memory(axis, found: Sequence[Row]) -> None:
    """A line for Transformer-XL and for every gradient depth of RMT."""
    for row in found:
        if row.model == LEVEL_5D:
            style = {"color": look(LEVEL_5D)[0], "linestyle": "--", "label": LEVEL_5D}
            axis.axhline(row.score, **style)
    for label, model, depth in LINES_5D:
        line = [row for row in found if (row.model, row.bptt_unrolls) == (model, depth)]
        line.sort(key=lambda row: row.memory)
        colour, marker = look(model)
        axis.errorbar(
            [row.memory for row in line],
            [row.score for row in line],
            [row.std or 0 for row in line],
            color=colour if depth is None else DEPTHS[depth],
            marker=marker,
            label=label,
            capsize=3,
        )
    axis.set_xscale("log")
    ticks = [1, 5, 10, 25, 50, 100, 200]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("memory tokens, or cached states of Transformer-XL")
