"""How much of the paper's tables and figures, and of our studies, has run at mini scale."""

from collections.abc import Mapping, Sequence

from rmt.reproduction.plans import Plan, fitting_runs
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import markdown

ENOUGH = 3  # seeds of a row
HEAD = ("target", "rows", f"with {ENOUGH} seeds or more", "with fewer", "not run")


def coverage_table(plans: Mapping[str, Sequence[Plan]], runs: Sequence[LoggedRun]) -> str:
    """In Markdown; plans: by target."""
    lines = []
    for target, rows in plans.items():
        seeds = [len(fitting_runs(own, runs)) for own in rows]
        n_enough, n_none = sum(n >= ENOUGH for n in seeds), seeds.count(0)
        counts = (len(rows), n_enough, len(rows) - n_enough - n_none, n_none)
        lines.append([f"`{target}`", *map(str, counts)])
    return markdown(HEAD, lines)
