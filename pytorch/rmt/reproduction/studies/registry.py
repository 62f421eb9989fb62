"""All studies by their names, and tables of what has run of them.

They are targets of rmt.reproduce, as the paper's tables and figures are; text.py, tasks.py and
pretrained.py say what each is about.
"""

from collections.abc import Callable, Sequence

from rmt.paper.published import published_cells
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.run_tables import runs_table, tasks_table
from rmt.reproduction.studies import pretrained, tasks, text
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN

ON_TEXT = (
    text.window,
    text.segments,
    text.segments_scaled,
    text.rates,
    text.warm_start,
    text.armt_text,
    text.grid,
    text.as_published,
    text.ablation,
    pretrained.wrapped_gpt2,
    pretrained.smollm,
    pretrained.smollm_gap,
)
ON_TASKS = (
    tasks.gradients,
    tasks.lessons,
    tasks.alike,
    tasks.associative,
    tasks.associative_longer,
    tasks.quadratic_longer,
    tasks.facts,
    tasks.as_published_reverse,
    tasks.ablation_reverse,
    pretrained.minilm,
)
# From whether the text is at hand to what is to be trained.
STUDIES: dict[str, Callable[[bool], list[Plan]]] = {
    study.__name__: study for study in (*ON_TEXT, *ON_TASKS)
}
OF_TEXT = tuple(study.__name__ for study in ON_TEXT)


def runs_of_study(name: str, runs: Sequence[LoggedRun], with_data: bool = True) -> list[LoggedRun]:
    """Those of the runs that belong to a study, in the order of its plans."""
    return [run for own in STUDIES[name](with_data) for run in fitting_runs(own, runs)]


def is_complete(name: str, runs: Sequence[LoggedRun]) -> bool:
    """Whether there is a run of each of its plans."""
    return all(fitting_runs(own, runs) for own in STUDIES[name](True))


def study_table(name: str, runs: Sequence[LoggedRun], with_data: bool = True) -> str:
    """What has run of a study, in Markdown."""
    found = runs_of_study(name, runs, with_data)
    if not found:
        return f"{NOT_RUN}\n"
    if name in OF_TEXT:
        return runs_table(found, with_speed=False)
    return tasks_table(found, published_cells(), with_speed=False)
