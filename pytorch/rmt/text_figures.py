"""Figures of runs on text: losses while training, and the paper's Figures 5(c) and (d)."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rmt.drawing import COLOURS, MARKERS, legend_name, plt, save_figure
from rmt.errors import UsageError
from rmt.experiments import SEGMENT_5CD as SEGMENT
from rmt.experiments import Row, rows
from rmt.logged_runs import LoggedRun, by_configuration, refuse_tasks
from rmt.metrics import bits_per_character, perplexity
from rmt.scales import MINI_SEGMENT, fitting_runs, plan

# RMT's lines by gradient depth: from light to dark.
DEPTHS = {0: "#f6c9a5", 1: "#f0a367", 2: "#e5803a", 3: "#D55E00", 4: "#8c3d00"}


def draw_curves(runs: list[LoggedRun], out: Path) -> None:
    """Training loss beside validation loss, a line per run.

    Runs that differ by their seed alone look the same and share a place in the legend, which has
    their mean test score. Raises UsageError for runs on algorithmic tasks, and for words and
    characters together.
    """
    refuse_tasks(runs, "draw it with `rmt.figures accuracy`")
    if len({run.word_level for run in runs}) > 1:
        raise UsageError("perplexities and bits per character share no axis: draw a figure of each")
    word_level = runs[0].word_level
    unit, convert = ("ppl", perplexity) if word_level else ("bpc", bits_per_character)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for i, (same, added) in enumerate(by_configuration(runs, lambda run: run.label)):
        label = legend_name(same[0].label + added, same)
        style = {"color": f"C{i % 10}", "linestyle": "-" if i < 10 else "--"}
        for run in same:
            for axis, kind in zip(axes, ("train", "valid"), strict=True):
                points = [entry for entry in run.metrics if entry["kind"] == kind]
                tokens = [entry["tokens"] / 1e6 for entry in points]
                losses = [convert(entry["loss"]) for entry in points]
                marker = {"marker": "o" if kind == "valid" else "", "ms": 3}
                shown = {"label": label if run is same[0] else None}
                axis.plot(tokens, losses, **style, **marker, **shown)
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
    handles, labels = axes[1].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 2, "fontsize": 8, "frameon": False}
    figure.legend(handles, labels, **place)
    save_figure(figure, out)


# --- Figures 5(c) and (d) ------------------------------------------------------------------------


def draw_figure_5cd(runs: Sequence[LoggedRun], out: Path) -> None:
    """Perplexity against what a model sees in training, and against memory: published and mini.

    From the rows of Table 4 with segments of 50; below the published ones those of ours that have
    run, with the spread over seeds.
    """
    published = [row for row in rows("table4") if row.segment_len == SEGMENT]
    ours = []
    for row in published:
        scores = [run.score for run in fitting_runs(plan(row, "mini"), runs)]
        if scores:
            std = statistics.stdev(scores) if len(scores) > 1 else None
            length = MINI_SEGMENT[SEGMENT]
            ours.append(replace(row, score=statistics.mean(scores), std=std, segment_len=length))
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
        colour = DEPTHS[row.bptt_unrolls] if row.model == "rmt" else COLOURS[row.model]
        context = visible_context(row)
        style = {"marker": MARKERS[row.model], "color": colour, "alpha": 0.7}
        axis.scatter([context], [row.score], s=size, **style)
    axis.set_xlabel("tokens that a prediction can depend on in training")


def visible_context(row: Row) -> int:
    """Tokens of the segment and, in training, before it (paper, section 4.3)."""
    if row.model == "trxl":
        return row.memory + row.segment_len
    return (row.bptt_unrolls + 1) * row.segment_len


def _draw_by_memory(axis, found: Sequence[Row]) -> None:
    """A line for Transformer-XL and for every gradient depth of RMT."""
    for row in found:
        if row.model == "baseline":
            style = {"color": COLOURS["baseline"], "linestyle": "--", "label": "baseline"}
            axis.axhline(row.score, **style)
    lines = {"trxl": ("Transformer-XL", COLOURS["trxl"], MARKERS["trxl"], "trxl", 0)}
    for depth, colour in DEPTHS.items():
        lines[f"rmt{depth}"] = (f"RMT, BPTT-{depth}", colour, MARKERS["rmt"], "rmt", depth)
    for label, colour, marker, model, depth in lines.values():
        line = [row for row in found if (row.model, row.bptt_unrolls) == (model, depth)]
        line.sort(key=lambda row: row.memory)
        axis.errorbar(
            [row.memory for row in line],
            [row.score for row in line],
            [row.std or 0 for row in line],
            **{"color": colour, "marker": marker, "label": label, "capsize": 3},
        )
    axis.set_xscale("log")
    ticks = [1, 5, 10, 25, 50, 100, 200]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("memory tokens, or cached states of Transformer-XL")
