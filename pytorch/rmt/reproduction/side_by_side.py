"""RMT beside Transformer-XL in a few lines: what the README shows."""

from collections.abc import Sequence

from rmt.paper.side_by_side import pairs
from rmt.reproduction.ledger import runs_of
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, markdown, mean_and_spread

HEAD = ("task", "score", "RMT", "Transformer-XL", "seeds", "trained alike?")


def side_by_side(runs: Sequence[LoggedRun]) -> str:
    """In Markdown, at mini scale."""
    lines = []
    for pair in pairs():
        found, differs = runs_of((pair.rmt, pair.trxl), runs)
        line = [pair.task, pair.score, *map(_mean, found)]
        line.append(" and ".join(str(len(same)) for same in found))
        lines.append([*line, f"no: {' and '.join(differs)}" if differs else "yes"])
    return markdown(HEAD, lines, n_words=2)


def _mean(runs: Sequence[LoggedRun]) -> str:
    return mean_and_spread([run.score for run in runs], runs[0].digits) if runs else NOT_RUN
