"""The paper's Tables 1 to 4 from logged runs: each row with the published score and ours.

All of it comes from files under results/, so that making it again gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rmt.data.metrics import METRICS
from rmt.paper.experiments import TABLES, UNITS, Row
from rmt.paper.published import table_cells
from rmt.reproduction.plans import fitting_runs
from rmt.reproduction.scales import MINI_QUADRATIC, describe_midi, describe_mini, plan
from rmt.reproduction.targets import experiments
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, common_text, links, markdown, mean_and_spread, over_seeds

# What a table of text has in the README: the published scores and those at mini scale.
SHORT = ("model", "memory", "segment", "paper bpc", "paper ppl", "mini", "mini seeds")
ENOUGH_ROWS = 8  # the fewer, the more often orders agree by chance


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
    head += ["mini", "difference", "seeds", "logs"]
    lines = []
    for cell in table_cells():
        full, mini = (_Ours(fitting_runs(plan(cell, scale), runs)) for scale in ("paper", "mini"))
        line = [
            cell.model,
            str(cell.memory),
            str(cell.segments),
            _published(cell.accuracy, cell.std),
        ]
        line += [full.score, full.difference(cell.accuracy), full.seeds]
        line += [mini.score, mini.difference(cell.accuracy), mini.seeds]
        lines.append([*line, links([*full.runs, *mini.runs], folder)])
    steps, samples = (MINI_QUADRATIC[name] for name in ("max_step", "batch_size"))
    return (
        "Share of solved equations, free running. ours: with the paper's settings; mini: the same "
        f"models, with lessons, in {steps:,} steps of {samples} samples.\n\n{markdown(head, lines)}"
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
    """A line on how far the two orders agree, for every segment length with ENOUGH_ROWS."""
    lines = []
    for length in sorted({row.segment_len for row in places}):
        pairs = [both for row, both in places.items() if row.segment_len == length]
        if len(pairs) >= ENOUGH_ROWS:
            agreement = np.corrcoef(np.array(pairs).T)[0, 1]
            lines.append(f"segment {length}: {agreement:.2f} ({len(pairs)} rows)")
    return (
        f"\nSpearman's rank correlation of paper and {scale}, {'; '.join(lines)}.\n"
        if lines
        else ""
    )
