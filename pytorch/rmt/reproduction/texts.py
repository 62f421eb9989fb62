"""The texts that plans are to be trained on: whether they are there, and are the right ones."""

from collections.abc import Sequence

from rmt.data.text.corpora import Corpus, load_corpus
from rmt.data.text.dataset import TextOptions, data_folder
from rmt.reproduction.plans import Plan
from rmt.runs.settings import text_options
from rmt.runtime.errors import UsageError

# A text as a plan reads it: the dataset, and its options.
Reading = tuple[str, TextOptions]


def reading_of(plan: Plan) -> Reading:
    return plan.dataset, text_options(plan.settings.train)


def find_texts(plans: Sequence[Plan], data: str) -> dict[Reading, str]:
    """Fingerprints of the plans' texts, of those that are there.

    Raises UsageError where one place is to serve two datasets.
    """
    datasets = sorted({plan.dataset for plan in plans if not plan.is_task})
    if data and len(datasets) > 1:
        raise UsageError(f"--data can't be {' and '.join(datasets)}: name targets of one of them")
    found = {}
    for plan in plans:
        if not plan.is_task and reading_of(plan) not in found:
            try:
                found[reading_of(plan)] = _text(plan, data).fingerprint
            except UsageError:
                if data:
                    raise
    return found


def small_text(plan: Plan) -> str:
    """Where the small version of a plan's text is, as make_mini_data.sh puts it."""
    return str(data_folder() / plan.settings.dataset.mini.folder)


def require_texts(plans: Sequence[Plan], data: str) -> None:
    """Raise UsageError, which says how to get it, where a text is missing or not the plans'."""
    for plan in {reading_of(plan): plan for plan in plans if not plan.is_task}.values():
        n_token = len(_text(plan, data).vocabulary)
        if plan.n_token not in (None, n_token):
            raise UsageError(
                f"the text of {plan.dataset} has {n_token:,} different tokens, but the paper's has "
                f"{plan.n_token:,}: get it with getdata.sh, or choose --scale mini"
            )


def _text(plan: Plan, data: str) -> Corpus:
    settings = plan.settings
    encoded_dir = settings.train.encoded_dir or None
    return load_corpus(
        settings.dataset, data or None, text_options(settings.train), encoded_dir=encoded_dir
    )
