"""Which settings of the algorithmic tasks stand in which panel of the paper's Figures 4, 5 and 7.

Source: Bulatov et al. 2022; a point of a figure is a published.Cell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rmt.paper.published import Cell

MODELS = ("baseline", "mt", "trxl", "rmt")  # of the figures, in the order of their legends
# The lines of Figure 5(d): name, model and gradient depth, where it has one; and the level without
# any memory.
LINES_5D = (
    ("Transformer-XL", "trxl", None),
    ("RMT, BPTT-0", "rmt", 0),
    ("RMT, BPTT-1", "rmt", 1),
    ("RMT, BPTT-2", "rmt", 2),
    ("RMT, BPTT-3", "rmt", 3),
    ("RMT, BPTT-4", "rmt", 4),
)
LEVEL_5D = "baseline"
COPY_120 = {(3, 60), (6, 30), (9, 40)}  # segments and memory of Figure 5(a)


@dataclass(frozen=True)
class Panel:
    """One panel: the cells that belong to it and where they go along the x axis."""

    title: str
    tasks: tuple[str, ...]
    belongs: Callable[[Cell], bool]
    x: Callable[[Cell], int] = lambda cell: cell.segments
    xlabel: str = "number of segments"

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if cell.task in self.tasks and self.belongs(cell)]


def _memory_is_segment(cell: Cell) -> bool:
    return cell.memory in (0, cell.segment_len)


def _memory_is_half_a_segment(cell: Cell) -> bool:
    return not cell.memory or 2 * cell.memory == cell.segment_len


def _tokens(cell: Cell) -> int:
    return cell.segments * cell.segment_len


FIGURE_4 = (
    Panel("copy, n 24", ("copy",), _memory_is_segment),
    Panel("reverse, n 24", ("reverse",), _memory_is_segment),
    Panel("retrieval, 4 pairs", ("retrieval",), _memory_is_segment),
)
FIGURE_5 = (
    Panel(
        "(a) copy, n 120",
        ("copy120",),
        lambda cell: not cell.memory or (cell.segments, cell.memory) in COPY_120,
    ),
    Panel(
        "(b) copy, segment 120, memory 60",
        ("copy120", "copy240", "copy360"),
        lambda cell: cell.segment_len == 120 and cell.memory in (0, 60),
        _tokens,
        "tokens in a sample (three times n)",
    ),
)
FIGURE_7 = (
    Panel("(a) copy, n 24, memory half a segment", ("copy",), _memory_is_half_a_segment),
    Panel("(b) reverse, n 24, memory half a segment", ("reverse",), _memory_is_half_a_segment),
    Panel("(c) reverse, n 120, memory 60", ("reverse120",), lambda cell: cell.memory in (0, 60)),
)
PAPER_FIGURES = {"figure4": FIGURE_4, "figure5": FIGURE_5, "figure7": FIGURE_7}
