"""RMT beside Transformer-XL in a few lines: what the README shows."""

from collections.abc import Sequence

from rmt.paper.side_by_side import pairs
from rmt.reproduction.ledger import runs_of
from rmt.reproduction.scales import plan
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN, markdown, mean_and_spread

HEAD = ("task", "score", "RMT", "Transformer-XL", "seeds", "trained alike?")
# What options are called on the page.
WORDS = {"curriculum": "lessons", "init": "initial weights"}


def side_by_side(runs: Sequence[LoggedRun]) -> str:
    """In Markdown, at mini scale."""
    lines = []
    for pair in pairs():
        found, differs = runs_of((pair.rmt, pair.trxl), runs)
        own = plan(pair.rmt, "mini")
        length = "" if own.is_task else f", segments of {own.settings.train.tgt_len}"
        line = [f"{pair.task}{length}", pair.score, *map(_mean, found)]
        line.append(" and ".join(str(len(same)) for same in found))
        differing = " and ".join(WORDS.get(name, name) for name in differs)
        lines.append([*line, f"no: {differing}" if differs else "yes"])
    return markdown(HEAD, lines, n_words=2)


def _mean(runs: Sequence[LoggedRun]) -> str:
    return mean_and_spread([run.score for run in runs], runs[0].digits) if runs else NOT_RUN
