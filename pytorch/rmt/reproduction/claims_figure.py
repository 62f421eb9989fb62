"""The ledger as a forest plot: every comparison's effect with its interval, beside the paper's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rmt.paper.claims import Comparison
from rmt.reproduction.ledger import NOT_ALIKE, Effect, Judged, margin_of
from rmt.runs.drawing import plt, save_figure
from rmt.runs.reports import over_seeds

# By what a comparison says of its claim: Okabe and Ito's colours, and markers for print in grey.
LOOKS = {
    "holds": ("#009E73", "o"),
    "does not hold": ("#D55E00", "X"),
    "unclear": ("#0072B2", "s"),
    NOT_ALIKE: ("#999999", "D"),
}
HOLDS = {"color": "#009E73", "alpha": 0.12, "linewidth": 0}
PAPER = {"marker": "|", "markersize": 15, "markeredgewidth": 2, "color": "black"}
UNITS = {
    "accuracy": "difference of accuracy",
    "ppl": "difference of perplexity",
    "bpc": "difference of bits per character",
}


@dataclass(frozen=True)
class _Line:
    """A comparison with its claim's number."""

    number: int
    comparison: Comparison
    effect: Effect

    @property
    def name(self) -> str:
        return f"{self.number}. {self.comparison.what}"

    @property
    def says(self) -> str:
        if self.effect.differs:
            return NOT_ALIKE
        return {"yes": "holds", "no": "does not hold"}.get(self.effect.verdict, "unclear")


def draw_claims(judged: Sequence[Judged], out: Path) -> None:
    """A line for each comparison that has run; a panel for each unit.

    Where the whole interval lies on green the comparison holds. One seed has no interval.
    """
    lines = [
        _Line(i, comparison, found)
        for i, (claim, effects) in enumerate(judged, start=1)
        for comparison, found in zip(claim.comparisons, effects, strict=True)
        if found.has_run
    ]
    by_unit = {unit: [own for own in lines if own.comparison.unit == unit] for unit in UNITS}
    panels = {unit: own for unit, own in by_unit.items() if own}
    heights = [len(own) + 2 for own in panels.values()]
    figure, axes = plt.subplots(
        max(1, len(panels)),
        figsize=(9, 1.2 + 0.27 * sum(heights)),
        height_ratios=heights or None,
        squeeze=False,
        layout="constrained",
    )
    for axis, (unit, own) in zip(axes[:, 0], panels.items(), strict=False):
        _draw_panel(axis, own)
        axis.set_xlabel(UNITS[unit], fontsize=9)
    _legend(figure)
    save_figure(figure, out)


def _draw_panel(axis, lines: Sequence[_Line]) -> None:
    for y, line in enumerate(lines):
        found = line.effect
        colour, marker = LOOKS[line.says]
        bar = 0 if math.isinf(found.half_width) else found.half_width
        style = {"color": colour, "marker": marker, "markersize": 6, "capsize": 3}
        axis.errorbar([found.mean], [y], xerr=[bar], linestyle="", **style)
        axis.plot([line.comparison.published], [y], linestyle="", **PAPER)
    low, high = axis.get_xlim()
    for y, line in enumerate(lines):
        begin, end = _where_it_holds(line)
        axis.fill_betweenx([y - 0.4, y + 0.4], max(begin, low), min(end, high), **HOLDS)
    for _, same in groupby(enumerate(lines), key=lambda place: place[1].number):
        first, _ = next(same)
        if first:
            axis.axhline(first - 0.5, color="#cccccc", linewidth=0.6)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set(xlim=(low, high), ylim=(len(lines) - 0.4, -0.6))
    axis.set_yticks(range(len(lines)), [line.name for line in lines], fontsize=8)
    axis.tick_params(axis="x", labelsize=8)


def _where_it_holds(line: _Line) -> tuple[float, float]:
    """The effects that the claim expects."""
    last_score, _ = over_seeds(line.effect.runs[-1])
    margin = margin_of(line.comparison, last_score)
    return {
        "lower": (-math.inf, 0.0),
        "higher": (0.0, math.inf),
        "same": (-margin, margin),
        "not higher": (-math.inf, margin),
        "not lower": (-margin, math.inf),
    }[line.comparison.expected]


def _legend(figure) -> None:
    handles = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=f"here: {what}")
        for what, (colour, marker) in LOOKS.items()
    ]
    handles.append(Line2D([], [], linestyle="", label="in the paper", **PAPER))
    handles.append(Patch(label="where it would hold", **HOLDS))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
