"""What reports on runs are made of: tables in Markdown, numbers over seeds, links to logs."""

import math
import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from rmt.runs.logged_runs import LoggedRun
from rmt.runtime.errors import UsageError

NOT_RUN = "not run"  # in the place of a number, or of a table


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], n_words: int = 1) -> str:
    """A table; the first n_words columns are words, the others are numbers, on the right."""
    rules = ["---"] * n_words + ["---:"] * (len(head) - n_words)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows)) + "\n"


def anchor(heading: str) -> str:
    """What a link to a heading of a page ends with, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def percent(share: float) -> str:
    """Without the sign; empty for what is not a number."""
    return "" if math.isnan(share) else f"{100 * share:.0f}"


def mean_and_spread(scores: Sequence[float], digits: int) -> str:
    """Mean and, from two scores on, sample standard deviation."""
    text = f"{statistics.mean(scores):.{digits}f}"
    if len(scores) > 1:
        text += f" ± {statistics.stdev(scores):.{digits}f}"
    return text


def over_seeds(runs: Sequence[LoggedRun]) -> tuple[float, float | None]:
    """The mean score of at least one run, and the standard deviation; None for a single run."""
    scores = [run.score for run in runs]
    return statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else None


def common_text(runs: Sequence[LoggedRun]) -> str | None:
    """The fingerprint of the text that all of them are of; None without runs on text.

    Raises UsageError where they are of different texts, and can't be compared.
    """
    texts = {run.result["corpus"]: run.path for run in runs if not run.is_task}
    if len(texts) > 1:
        first, second, *_ = texts.values()
        raise UsageError(f"{first} and {second} are of different texts: keep one of them elsewhere")
    return next(iter(texts), None)


def links(runs: Sequence[LoggedRun], folder: Path) -> str:
    """Links to the runs' folders, in Markdown, from a page in this folder: their seeds."""
    return " ".join(f"[{run.seed}]({os.path.relpath(run.path, folder)})" for run in runs)
