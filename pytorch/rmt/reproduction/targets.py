"""Targets of a reproduction, the paper's tables and figures and our studies, and their plans."""

from collections.abc import Iterable, Sequence

from rmt.paper.experiments import ADDED, SEGMENT_5CD, TABLES, Experiment, rows
from rmt.paper.panels import PAPER_FIGURES
from rmt.paper.published import figure_cells, table_cells
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import MIDI_TARGETS, plan
from rmt.reproduction.studies.registry import STUDIES

PAPER_TABLES = ("table1", *TABLES)
FIGURE_5CD = "figure5cd"
TARGETS = (*PAPER_TABLES, *PAPER_FIGURES, FIGURE_5CD)


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
