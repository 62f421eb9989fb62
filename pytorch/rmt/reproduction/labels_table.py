"""A table of runs on texts with labels, beside what others have published."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rmt.paper.published import PublishedF1
from rmt.runs.logged_runs import LoggedRun, by_configuration
from rmt.runs.reports import NOT_RUN, markdown, mean_and_spread
from rmt.runtime.errors import UsageError

HEAD = (
    *("model", "segments", "memory", "F1", "accuracy", "seeds", "folds", "minutes"),
    "published F1",
)


def labels_table(
    runs: Sequence[LoggedRun], published: Sequence[PublishedF1], with_speed: bool = True
) -> str:
    """A row per configuration; runs that differ by seed and fold alone share it. F1 is the mean of
    the test scores, and their sample standard deviation from two runs on.

    Published figures of a dataset that nothing here was run on are left out. Raises UsageError for
    runs on anything but texts with labels, and on several datasets.
    """
    for run in runs:
        if not run.is_task or run.is_algorithmic:
            raise UsageError(f"{run.path} is a run on {run.dataset}, which has no labels")
    if len(names := {run.dataset for run in runs}) > 1:
        raise UsageError(f"the runs are on {' and '.join(sorted(names))}: name those on one")
    ordered = sorted(runs, key=lambda run: (_place(run), run.label, run.seed, run.task["fold"]))
    folds = {run.path: run.task["fold"] for run in ordered}
    without_fold = [replace(run, task={**run.task, "fold": None}) for run in ordered]
    of_dataset = [each for each in published if each.dataset in names]
    rows, seen = [], set()
    for same, added in by_configuration(without_fold, lambda run: (_place(run), run.label)):
        own = [each for each in of_dataset if _is_of(each, same[0])]
        seen.update(own)
        rows.append(_row(same, added, {folds[run.path] for run in same}, own))
    rows += [_not_run(each) for each in of_dataset if each not in seen]
    shown = [i for i, name in enumerate(HEAD) if with_speed or name != "minutes"]
    return markdown([HEAD[i] for i in shown], [[row[i] for i in shown] for row in rows])


def _place(run: LoggedRun) -> tuple[str, int, int]:
    """What published figures would be found by; segments 0 are all of a text."""
    return _backbone(run), run.task["max_segments"], run.model.memory


def _backbone(run: LoggedRun) -> str:
    """The folder of the pretrained model; "" for one that began with random weights."""
    return Path(run.settings.get("backbone", "")).name


def _is_of(published: PublishedF1, run: LoggedRun) -> bool:
    backbone, *sizes = _place(run)
    return published.backbone in backbone and sizes == [published.segments, published.memory]


def _row(
    runs: Sequence[LoggedRun], added: str, folds: set[int], published: Sequence[PublishedF1]
) -> list[str]:
    first = runs[0]
    backbone, segments, memory = _place(first)
    accuracies = [run.result["test_accuracy"] for run in runs]
    return [
        f"{backbone} {first.variant}".strip() + added,
        str(segments or "all"),
        str(memory),
        mean_and_spread([run.score for run in runs], first.digits),
        f"{statistics.mean(accuracies):.3f}",
        str(len({run.seed for run in runs})),
        str(len(folds)),
        f"{statistics.median(run.result['seconds'] for run in runs) / 60:.1f}",
        ", ".join(_shown(each) for each in published),
    ]


def _not_run(published: PublishedF1) -> list[str]:
    name, segments, memory = published.backbone, published.segments, published.memory
    return [name, str(segments), str(memory), NOT_RUN, *[""] * 4, _shown(published)]


def _shown(published: PublishedF1) -> str:
    return f"{published.f1:.3f}" + (f" ({published.note})" if published.note else "")
