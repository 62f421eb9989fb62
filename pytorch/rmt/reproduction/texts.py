"""The texts that plans are to be trained on: whether they are there, and are the right ones."""

from collections.abc import Mapping, Sequence

from rmt.data.text.corpora import Corpus
from rmt.data.text.dataset import TextOptions, data_folder
from rmt.reproduction.plans import Plan
from rmt.runs.settings import text_options
from rmt.runs.text import load_text
from rmt.runtime.errors import UsageError

# A text as a plan reads it: the dataset, and its options.
Reading = tuple[str, TextOptions]


def reading_of(plan: Plan) -> Reading:
    return plan.dataset, text_options(plan.settings.train)


def find_texts(plans: Sequence[Plan], data: str) -> dict[Reading, Corpus]:
    """The plans' texts, of those that are there.

    Raises UsageError where one place is to serve two datasets.
    """
    datasets = sorted({plan.dataset for plan in plans if not plan.is_task})
    if data and len(datasets) > 1:
        raise UsageError(f"--data can't be {' and '.join(datasets)}: name targets of one of them")
    found = {}
    for plan in plans:
        if not plan.is_task and reading_of(plan) not in found:
            try:
                found[reading_of(plan)] = load_text(plan.settings, data=data)
            except UsageError:
                if data:
                    raise
    return found


def small_text(plan: Plan) -> str:
    """Where the small version of a plan's text is, as make_mini_data.sh puts it."""
    return str(data_folder() / plan.settings.dataset.mini.folder)


def require_texts(plans: Sequence[Plan], found: Mapping[Reading, Corpus], data: str) -> None:
    """Raise UsageError, which says how to get it, where a text is missing or not the plans'.

    found: what find_texts has found.
    """
    for reading, plan in {reading_of(plan): plan for plan in plans if not plan.is_task}.items():
        corpus = found[reading] if reading in found else load_text(plan.settings, data=data)
        n_token = len(corpus.vocabulary)
        if plan.n_token not in (None, n_token):
            raise UsageError(
                f"the text of {plan.dataset} has {n_token:,} different tokens, but the paper's has "
                f"{plan.n_token:,}: get it with getdata.sh, or choose --scale mini"
            )
