"""Beginning with the weights of another run instead of random ones (--init_from).

Its vocabulary is taken, too: a text is read with it, whatever symbols it has of its own. Everything
else is new: step 0, the optimizer, the schedule, the streams. Several such runs, each of
which begins with the one before, train as one run with a curriculum does (--curriculum_segments),
but for what is new in each: the optimizer's state, the learning rate and the place in the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rmt.data.text.corpora import Inherited
from rmt.data.vocabulary import Vocabulary
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.options import paths
from rmt.runs import checkpoint
from rmt.runs.settings import Settings
from rmt.runs.trained import find_vocabulary, inherited
from rmt.runs.weights import set_weights
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A trained model to begin with: its run folder, its options, its best checkpoint, and what its
    ids mean.
    """

    folder: Path
    options: ModelOptions
    found: checkpoint.Checkpoint
    vocabulary: Vocabulary

    @property
    def inherited(self) -> Inherited:
        """The vocabulary that a text is read with."""
        return inherited(self.folder, self.options, self.found, self.vocabulary)

    def check_vocabulary(self, own: Vocabulary) -> None:
        """Raise UsageError unless the data has the same symbols in the same order.

        A text is read so that it has; a task has its own.
        """
        theirs = self.vocabulary
        if theirs.symbols == own.symbols:
            return
        pairs = zip_longest(theirs.symbols, own.symbols)
        number, pair = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        there, here = ("nothing" if symbol is None else repr(symbol) for symbol in pair)
        raise UsageError(
            f"the vocabulary of {self.folder} is not that of the data: of its {len(theirs):,} "
            f"symbols and the data's {len(own):,}, number {number} is {there} there and {here} here"
        )


def find_source(folder: Path) -> Source:
    """The model in a run folder. Raises UsageError where there is none, or its ids mean nothing."""
    settings, options = Settings.read(folder)
    warn = print if distributed.is_main() else lambda _: None
    found = checkpoint.find_best(folder, warn)
    vocabulary = find_vocabulary(folder, settings, found, options.n_token)
    return Source(folder, options, found, vocabulary)


def begin_with(source: Source, model: SegmentModel) -> dict:
    """Set a new model's weights; return for the run's records where they are from.

    n_taken: tensors that are the other model's as they are. otherwise: by name what became of the
    others. options: by name those of the two models that differ, [there, here]. Raises UsageError
    where the weights don't fit.
    """
    others = source.found.weights()
    weights, otherwise = model.weights_from(others, source.options)
    set_weights(model, weights, source.found.path)
    there, here = source.options.settings, model.config.settings
    return {
        "run": paths.to_record(str(source.folder)),
        "model": source.options.model,
        "step": source.found.step,
        "weights": source.found.manifest["sha256"][checkpoint.MODEL_FILE],
        "n_taken": len(weights.keys() - otherwise.keys()),
        "otherwise": otherwise,
        "options": {
            name: [there.get(name), value]
            for name, value in here.items()
            if there.get(name) != value
        },
    }


def readable(began_with: Mapping) -> list[str]:
    """What begin_with returned, as lines for the log."""
    lines = [
        f"| begins with the weights of {began_with['run']} ({began_with['model']}, step "
        f"{began_with['step']}): {began_with['n_taken']} tensors as they are there"
    ]
    lines += [f"|     {name}: {what}" for name, what in began_with["otherwise"].items()]
    lines += [
        f"|     option {name} was {there} there and is {here} here"
        for name, (there, here) in began_with["options"].items()
    ]
    return lines
