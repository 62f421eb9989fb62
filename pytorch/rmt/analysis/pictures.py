"""Attention maps as pictures, after Figures 6 and 8 of Bulatov et al. 2022.

Rows attend to columns; darker is more. Lengths are in inches.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.patches import Patch, Rectangle

from rmt.analysis.patterns import KINDS, REGIONS, Pattern, SegmentMaps
from rmt.runs.drawing import plt, save_figure
from rmt.runs.reports import markdown

PATTERN_COLOURS = {
    "write": "#CC3311",
    "read": "#0077BB",
    "rewrite": "#009988",
    "read cache": "#AA3377",
}
REGION_NAMES = {
    "cache": "cache",
    "read": "read memory",
    "tokens": "tokens",
    "write": "write memory",
}
NOT_COMPUTED = "#dfe7ee"
BORDERS = "#6699cc"
# The square root of the attention, so that attention to many keys is seen beside that to one.
SCALE = {"cmap": "Greys", "norm": PowerNorm(0.5, 0, 1)}

PANEL, NARROWEST = 1.05, 0.5  # widths of the widest map and, at least, of the narrowest
GAP, NAME_GAP = 0.08, 0.17  # beside and above a map
BLOCK_LEFT, BLOCK_TOP, BLOCK_GAP = 0.5, 0.5, 0.2  # around a segment's maps
HEADER, FOOTER, MARGIN = 0.5, 0.85, 0.15
LARGE, LARGE_LEFT, LARGE_TOP, LARGE_BOTTOM = 3.4, 0.75, 0.6, 0.45  # the figure of chosen patterns


class Sheet:
    """A figure on which everything has its place in inches from the top left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width, height))

    def axes(self, x: float, y: float, width: float, height: float):
        box = (x / self.width, 1 - (y + height) / self.height)
        return self.figure.add_axes((*box, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, **settings) -> None:
        # A $ is a symbol like any other.
        place = x / self.width, 1 - y / self.height
        self.figure.text(*place, text, **settings, parse_math=False)


def draw_maps(
    segments: Sequence[SegmentMaps], patterns: Sequence[Pattern], title: str, out: Path
) -> None:
    """Every head (columns) of every layer (rows) of every segment; patterns are framed."""
    n_layers, n_heads = len(segments[0].layers), len(segments[0].layers[0])
    n_across = len(segments) if len(segments) <= 3 else math.ceil(math.sqrt(len(segments)))
    n_down = math.ceil(len(segments) / n_across)
    n_keys = [maps.n_keys for maps in segments]
    # The sides of one row and column, the same everywhere but in segments of very few tokens.
    cells = [max(PANEL / max(n_keys), NARROWEST / n) for n in n_keys]
    height = max(cell * maps.n_rows for cell, maps in zip(cells, segments, strict=True))
    block_width = BLOCK_LEFT + n_heads * (PANEL + GAP) + BLOCK_GAP
    block_height = BLOCK_TOP + n_layers * (height + NAME_GAP) + BLOCK_GAP
    width = max(MARGIN + n_across * block_width, 7.5)
    sheet = Sheet(width, HEADER + n_down * block_height + FOOTER)
    sheet.text(MARGIN, 0.32, title, fontsize=12)
    for i, maps in enumerate(segments):
        x = MARGIN + i % n_across * block_width
        y = HEADER + i // n_across * block_height
        own = [pattern for pattern in patterns if pattern.segment == i]
        name = f"segment {i + 1} of {len(segments)}:  {shortened(maps.symbols, 30)}"
        sheet.text(x + BLOCK_LEFT, y + 0.12, name, fontsize=9)
        _draw_segment(sheet, x + BLOCK_LEFT, y + BLOCK_TOP, cells[i], maps, own)
    _draw_footer(sheet, segments, patterns)
    save_figure(sheet.figure, out)


def shortened(symbols: Sequence[str], longest: int) -> str:
    """The symbols as one word, those in the middle left out where it has too many letters."""
    if len("".join(symbols)) <= longest:
        return "".join(symbols)
    half = (longest - 1) // 2
    lengths = np.array([len(symbol) for symbol in symbols])
    n_first, n_last = ((np.cumsum(each) <= half).sum() for each in (lengths, lengths[::-1]))
    return "".join([*symbols[:n_first], " … ", *symbols[len(symbols) - n_last :]])


def _draw_segment(
    sheet: Sheet,
    left: float,
    top: float,
    cell: float,
    maps: SegmentMaps,
    patterns: Sequence[Pattern],
) -> None:
    width, height = cell * maps.n_keys, cell * maps.n_rows
    for layer, attention_HQK in enumerate(maps.layers):
        y = top + layer * (height + NAME_GAP)
        sheet.text(left - 0.42, y + height / 2, f"layer {layer + 1}", **_upright(7))
        for head in range(len(attention_HQK)):
            x = left + head * (width + GAP)
            axes = sheet.axes(x, y, width, height)
            draw_map(axes, maps, layer, head)
            if layer == 0:
                sheet.text(x, top - NAME_GAP, f"head {head + 1}", fontsize=7)
            _label_regions(axes, maps, rows=head == 0, columns=layer == len(maps.layers) - 1)
            own = [p for p in patterns if (p.layer, p.head) == (layer, head)]
            for pattern in own:
                frame(axes, maps, pattern)
            if own:
                names = "  ".join(f"{p.kind} {arrow(p)}" for p in own)
                colour = PATTERN_COLOURS[own[0].kind]
                sheet.text(x + width, y - 0.03, names, fontsize=6.5, color=colour, ha="right")


def draw_map(axes, maps: SegmentMaps, layer: int, head: int) -> None:
    """One head's attention [rows, K]; rows that were not computed are shaded."""
    attention_QK = maps.layers[layer][head]
    whole = np.full((maps.n_rows, maps.n_keys), np.nan)
    whole[maps.n_rows - len(attention_QK) :] = attention_QK
    axes.imshow(whole, **SCALE, aspect="auto")
    axes.set_facecolor(NOT_COMPUTED)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(linewidth=0.6, color="#555555")
    for region in REGIONS:
        start, _ = maps.span(region)
        row = start - maps.sizes["cache"]
        if 0 < start < maps.n_keys:
            axes.axvline(start - 0.5, color=BORDERS, linewidth=0.6)
        if 0 < row < maps.n_rows:
            axes.axhline(row - 0.5, color=BORDERS, linewidth=0.6)


def frame(axes, maps: SegmentMaps, pattern: Pattern) -> None:
    """A coloured frame around the block of a pattern."""
    (top, bottom), (left, right) = maps.place(pattern.kind)
    corner = (left - 0.5, top - maps.sizes["cache"] - 0.5)
    colour = PATTERN_COLOURS[pattern.kind]
    size = (right - left, bottom - top)
    line = {"fill": False, "edgecolor": colour, "linewidth": 1.6, "clip_on": False, "zorder": 3}
    axes.add_patch(Rectangle(corner, *size, **line))


def arrow(pattern: Pattern) -> str:
    """The way the line runs on the page: down where order is kept, up where it is reversed."""
    return "↘" if pattern.order > 0 else "↗"


def _upright(size: float) -> dict:
    return {"rotation": 90, "fontsize": size, "va": "center", "ha": "center"}


def _label_regions(axes, maps: SegmentMaps, *, rows: bool, columns: bool) -> None:
    """The regions' first letters beside the rows and below the columns."""
    for region in REGIONS:
        if not maps.sizes[region]:
            continue
        start, end = maps.span(region)
        x = (start + end) / 2 / maps.n_keys
        y = 1 - ((start + end) / 2 - maps.sizes["cache"]) / maps.n_rows
        settings = {"transform": axes.transAxes, "fontsize": 6.5, "color": "#335577"}
        if rows and region != "cache":
            axes.text(-0.03, y, region[0], ha="right", va="center", **settings)
        if columns:
            axes.text(x, -0.03, region[0], ha="center", va="top", **settings)


def _draw_footer(
    sheet: Sheet, segments: Sequence[SegmentMaps], patterns: Sequence[Pattern]
) -> None:
    """What letters, shades and frames mean, and the scale of greys."""
    y = sheet.height - FOOTER + 0.15
    used = [name for name in REGIONS if any(maps.sizes[name] for maps in segments)]
    letters = ", ".join(f"{name[0]} {REGION_NAMES[name]}" for name in used)
    sheet.text(MARGIN, y, f"Rows attend to columns: {letters}.", fontsize=8)
    axes = sheet.axes(sheet.width - 2.2, y - 0.12, 2.0, 0.12)
    colours = plt.cm.ScalarMappable(norm=SCALE["norm"], cmap=SCALE["cmap"])
    bar = sheet.figure.colorbar(colours, cax=axes, orientation="horizontal")
    bar.set_ticks([0, 0.05, 0.25, 0.5, 1], labels=["0", ".05", ".25", ".5", "1"])
    axes.tick_params(labelsize=7)
    axes.set_xlabel("attention", fontsize=8, labelpad=1)
    kinds = [kind for kind in KINDS if any(pattern.kind == kind for pattern in patterns)]
    handles = [Patch(fill=False, edgecolor=PATTERN_COLOURS[k], label=k) for k in kinds]
    if any(len(layer[0]) < maps.n_rows for maps in segments for layer in maps.layers):
        handles.append(Patch(color=NOT_COMPUTED, label="not computed, for nothing reads it"))
    corner = (MARGIN / sheet.width, 0.12 / sheet.height)
    found = "patterns (↘ in order, ↗ reversed):" if kinds else "no pattern found"
    legend = sheet.figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=corner,
        ncols=5,
        fontsize=8,
        frameon=False,
        title=found,
        title_fontsize=8,
        alignment="left",
        borderpad=0,
        borderaxespad=0,
    )
    legend.set_in_layout(False)


# --- chosen patterns, as a table and large --------------------------------------------------------


def patterns_table(patterns: Sequence[Pattern]) -> str:
    """The patterns in Markdown, in the order given; segments, layers and heads count from 1."""
    head = ["operation", "segment", "layer", "head", "rows", "mass", "order"]
    rows = []
    for p in patterns:
        places = [str(i + 1) for i in (p.segment, p.layer, p.head)]
        rows.append([p.name, *places, str(p.n_rows), f"{p.mass:.2f}", f"{p.order:.2f}"])
    return markdown(head, rows)


def strongest_of_each(patterns: Sequence[Pattern]) -> list[Pattern]:
    """The strongest of every kind and direction, in the order of their strength."""
    best: dict[str, Pattern] = {}
    for pattern in sorted(patterns, key=lambda pattern: -pattern.strength):
        best.setdefault(pattern.name, pattern)
    return list(best.values())


def draw_patterns(
    segments: Sequence[SegmentMaps], patterns: Sequence[Pattern], title: str, out: Path
) -> None:
    """The maps of a few patterns, large, with the segment's tokens along rows and columns."""
    n_across = min(len(patterns), 4)
    n_down = math.ceil(len(patterns) / n_across)
    heights = [_large_height(segments[pattern.segment]) for pattern in patterns]
    width, height = LARGE_LEFT + LARGE, LARGE_TOP + max(heights) + LARGE_BOTTOM
    sheet = Sheet(max(n_across * width + 0.2, 4.5), 0.4 + n_down * height)
    sheet.text(MARGIN, 0.3, title, fontsize=12)
    for i, pattern in enumerate(patterns):
        maps = segments[pattern.segment]
        x = LARGE_LEFT + i % n_across * width
        y = 0.4 + LARGE_TOP + i // n_across * height
        axes = sheet.axes(x, y, LARGE, heights[i])
        draw_map(axes, maps, pattern.layer, pattern.head)
        frame(axes, maps, pattern)
        _label_tokens(axes, maps)
        place = f"segment {pattern.segment + 1}, layer {pattern.layer + 1}, head {pattern.head + 1}"
        numbers = f"mass {pattern.mass:.2f}, order {pattern.order:.2f}"
        colour = PATTERN_COLOURS[pattern.kind]
        sheet.text(x, y - 0.27, pattern.name, fontsize=11, color=colour)
        sheet.text(x, y - 0.09, f"{place}: {numbers}", fontsize=8)
    save_figure(sheet.figure, out)


def _large_height(maps: SegmentMaps) -> float:
    return LARGE * maps.n_rows / maps.n_keys


def _label_tokens(axes, maps: SegmentMaps) -> None:
    """Names of the regions, and the tokens where there is room for them."""
    n_cached = maps.sizes["cache"]
    start, end = maps.span("tokens")
    if maps.n_keys <= 64:
        named = {"fontsize": 7, "parse_math": False}
        axes.set_xticks(range(start, end), maps.symbols, **named)
        axes.set_yticks(range(start - n_cached, end - n_cached), maps.symbols, **named)
        axes.tick_params(length=0, pad=1.5)
    for region in REGIONS:
        if not maps.sizes[region]:
            continue
        middle = sum(maps.span(region)) / 2 - 0.5
        if region != "cache":
            axes.annotate(
                REGION_NAMES[region],
                (0, middle - n_cached),
                (-16, 0),
                **_upright(8),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
            )
        axes.annotate(
            REGION_NAMES[region],
            (middle, 0),
            (0, -18),
            ha="center",
            va="center",
            fontsize=8,
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
        )
