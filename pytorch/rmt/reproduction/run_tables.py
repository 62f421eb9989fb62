"""Tables of logged runs, a row per configuration."""

import statistics

from rmt.data import registry as data
from rmt.models import registry as models
from rmt.paper.published import Cell, task_name
from rmt.runs.logged_runs import LoggedRun, by_configuration, refuse_tasks, refuse_text
from rmt.runs.reports import common_text, markdown, mean_and_spread

# --- runs on text --------------------------------------------------------------------------------


def runs_table(runs: list[LoggedRun], with_speed: bool = True) -> str:
    """Compare runs of one dataset; those that differ by their seed alone share a row.

    Raises UsageError where runs were scored on different texts, or on tasks.
    """
    refuse_tasks(runs, "make its table with `rmt.tables tasks`")
    common_text(runs)
    metric = f"test {runs[0].metric.name}"
    head = ["model", metric, "seeds", "numbers carried", "tokens", "parameters", "tokens/s"]
    rows = [_row(same, added) for same, added in by_configuration(runs, lambda run: run.label)]
    if not with_speed:
        head, rows = head[:-1], [row[:-1] for row in rows]
    return markdown(head, rows)


def _row(runs: list[LoggedRun], added: str) -> list[str]:
    speed = statistics.median(run.result["tokens_per_s"] for run in runs)
    return [
        runs[0].label + added,
        mean_and_spread([run.score for run in runs], runs[0].digits),
        str(len(runs)),
        "" if runs[0].n_carried is None else f"{runs[0].n_carried:,}",
        f"{runs[0].result['tokens']:,}",
        f"{runs[0].result['n_all_param']:,}",
        f"{speed:,.0f}",
    ]


# --- runs on the algorithmic tasks ---------------------------------------------------------------

WHOLE = "test_sequence_accuracy"  # in result.json, the share of answers without an error


def tasks_table(runs: list[LoggedRun], published: list[Cell], with_speed: bool = True) -> str:
    """Compare runs on tasks with each other and with published cells, from the easiest on.

    ours and teacher-forced are accuracies, of quadratic the share of solved equations; ours, as
    the paper's, is with the model's own output fed back. Columns that say nothing of their own, as
    where answers are of one token, are left out. Raises UsageError for runs on text.
    """
    refuse_text(runs, "make its table with `rmt.tables runs`")
    authors = {cell.place: cell for cell in published}
    rows = [
        _task_row(same, added, authors.get(place_of(same[0])) if same[0].whole_sample else None)
        for same, added in by_configuration(
            sorted(runs, key=_difficulty),
            _shown,
        )
    ]
    says_more = {
        "whole answers": any(run.result[WHOLE] != run.score for run in runs),
        "teacher-forced": any(run.result[_forced(run)] != run.score for run in runs),
        "minutes": with_speed,
        "authors": any(row["authors"] for row in rows),
    }
    head = [name for name in rows[0] if says_more.get(name, True)]
    return markdown(head, [[row[name] for name in head] for row in rows], n_words=2)


def _shown(run: LoggedRun) -> tuple:
    """What a row says of its runs."""
    return place_of(run), run.setting, run.result["tgt_len"], run.variant, run.model.memory_label


def _difficulty(run: LoggedRun) -> tuple:
    model = run.model
    place = list(data.tasks()).index(run.dataset), run.size, run.result["segments"]
    in_registry = list(models.entries()).index(model.model)
    return *place, in_registry, model.memory, model.label, run.variant


def place_of(run: LoggedRun) -> tuple[str, str, int, int]:
    """What a cell of the published results would be found by (Cell.place)."""
    task = task_name(run.dataset, run.size)
    return task, run.model.model, run.model.memory, run.result["segments"]


def _task_row(runs: list[LoggedRun], added: str, authors: Cell | None) -> dict[str, str]:
    first = runs[0]

    def of_all(name: str) -> list[float]:
        return [run.result[name] for run in runs]

    return {
        "task": first.setting,
        "model": first.variant + added,
        "segments": f"{first.result['segments']} of {first.result['tgt_len']}",
        "memory": first.model.memory_label,
        "ours": mean_and_spread([run.score for run in runs], 3),
        "whole answers": f"{statistics.mean(of_all(WHOLE)):.3f}",
        "teacher-forced": f"{statistics.mean(of_all(_forced(first))):.3f}",
        "seeds": str(len(runs)),
        "steps": f"{statistics.median(of_all('steps')):,.0f}",
        "minutes": f"{statistics.median(of_all('seconds')) / 60:.1f}",
        "authors": _published(authors),
    }


def _forced(run: LoggedRun) -> str:
    """The name in result.json of a run's score by the true answer so far."""
    return f"test_forced_{run.headline}"


def _published(cell: Cell | None) -> str:
    """Mean, spread over runs and their number, in parentheses; as much of it as there is."""
    if cell is None:
        return ""
    if cell.runs is None:  # of a table in the paper: with the digits it has there
        return f"{cell.accuracy:g}" + (f" ± {cell.std:g}" if cell.std else "")
    spread = f" ± {cell.std:.3f}" if cell.runs > 1 else ""
    return f"{cell.accuracy:.3f}{spread} ({cell.runs})"
