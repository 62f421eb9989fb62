"""Runs on a task, tested on samples of other sizes than they were trained on.

rmt.eval writes the scores of each size into the run folder:

    python -m rmt.eval --work_dir RUN --sample_len 4096 --split test --json RUN/size-4096.json
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from rmt.runs.logged_runs import LoggedRun, by_configuration, refuse_text
from rmt.runs.reports import markdown, mean_and_spread
from rmt.runtime.errors import UsageError

FILES = "size-*.json"
Place = TypeVar("Place")

# By size of the samples, the accuracy of every seed.
BySize = dict[int, list[float]]


def scores_by_size(runs: Sequence[LoggedRun]) -> dict[str, BySize]:
    """By model, in the order of the runs. Runs that differ by their seed alone are one model.

    Raises UsageError for runs on text, or without such files, and for files that are damaged.
    """
    refuse_text(runs, "`rmt.eval --tgt_len` scores a text in segments of another length")
    found, several = {}, len({run.size for run in runs}) > 1

    def name(run: LoggedRun) -> str:
        return f"{run.label}, trained on {run.size:,}" if several else run.label

    for same, added in by_configuration(runs, name):
        row = found[name(same[0]) + added] = {}
        for size, accuracy in (score for run in same for score in scores_of(run)):
            row.setdefault(size, []).append(accuracy)
    return found


def is_tested(run: LoggedRun) -> bool:
    """Whether there are such files of a run."""
    return any(run.path.glob(FILES))


def scores_of(run: LoggedRun) -> list[tuple[int, float]]:
    """Sizes and test accuracies of whole answers."""
    files = sorted(run.path.glob(FILES))
    if not files:
        raise UsageError(f"{run.path} has no {FILES}: write them with `rmt.eval --json`")
    return [read_test_score(file, run.task_dataset.size, run.dataset) for file in files]


def read_test_score(
    file: Path, place: Callable[[Mapping], Place], what: str
) -> tuple[Place, float]:
    """The test accuracy of whole answers in a file of rmt.eval --json, and where it belongs.

    place: of the options of the samples. what: the tasks, for people. Raises UsageError for a file
    that holds none.
    """
    try:
        record = json.loads(file.read_text())
        found = place(record["samples"])
        (accuracy,) = (s["sequence_accuracy"] for s in record["scores"] if s["of"] == "test")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} holds no test scores on {what} ({error})") from None
    return found, accuracy


def sizes_table(runs: Sequence[LoggedRun]) -> str:
    """In Markdown: a row for each model, a column for each size, the share of right answers."""
    rows = scores_by_size(runs)
    sizes = _sizes(rows)
    cells = [
        [model, *(mean_and_spread(row[n], 2) if n in row else "" for n in sizes)]
        for model, row in rows.items()
    ]
    return markdown(["model", *(f"{size:,}" for size in sizes)], cells)


def draw_sizes(runs: Sequence[LoggedRun], out: Path) -> None:
    """The means as a map of colours, with the numbers in it."""
    from rmt.reproduction.accuracy_map import draw_map  # late: the table needs no matplotlib

    rows = scores_by_size(runs)
    sizes = _sizes(rows)
    means = [[np.mean(row[n]) if n in row else np.nan for n in sizes] for row in rows.values()]
    trained_on = sorted({run.size for run in runs})
    title = f"{runs[0].dataset}, trained on {' or '.join(f'{n:,}' for n in trained_on)}: right, %"
    draw_map(list(rows), sizes, np.array(means), "size of a sample", title, out)


def _sizes(rows: dict[str, BySize]) -> list[int]:
    return sorted({size for row in rows.values() for size in row})
