"""The text of a run."""

from collections.abc import Sequence

from rmt.data.text.corpora import Corpus, Inherited, load_corpus
from rmt.runs.settings import Settings, text_options


def load_text(
    settings: Settings,
    *,
    data: str | Sequence[str] = (),
    inherited: Inherited | None = None,
    encoded_dir: str | None = None,
    progress: bool = True,
) -> Corpus:
    """The text that the settings name, encoded once for all runs.

    data, encoded_dir: instead of the settings' own. inherited: the vocabulary that it is read with,
    instead of its own.
    """
    train = settings.train
    return load_corpus(
        settings.dataset,
        data or train.data or None,
        text_options(train),
        inherited=inherited,
        encoded_dir=encoded_dir or train.encoded_dir or None,
        progress=progress,
    )
