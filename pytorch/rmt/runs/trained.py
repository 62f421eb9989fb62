"""Trained models, read back from the folders of their runs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from rmt.data.labelled.dataset import LabelledTexts
from rmt.data.text.codec import Codec
from rmt.data.text.corpora import Inherited
from rmt.data.text.reading import CHARACTERS
from rmt.data.vocabulary import Vocabulary
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.models.registry import build
from rmt.options import paths
from rmt.runs import checkpoint
from rmt.runs.run_folder import KEPT, LINKS, VOCABULARY, saved_checkpoints
from rmt.runs.settings import Settings, text_options
from rmt.runs.text import load_text
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root


class NoVocabulary(UsageError):
    """What the ids of a run mean can't be found, or can't be written as text."""


def load(
    folder: str | os.PathLike,
    *,
    device: str | torch.device = "cpu",
    which: str = "best",
    needs_text: bool = False,
    **lengths: object,
) -> SegmentModel:
    """The best or the last model of a run folder, in evaluation mode.

    lengths: of the model, other ones than in training (mem_len, cache_len, clamp_len, as far as no
    weight depends on them).

    Beside what every model has it has the run's settings (model.settings.train.tgt_len is the
    length of a segment in training), its vocabulary, and what makes ids of text and text of ids,
    model.codec. The last two are None for a run that kept no vocabulary and whose text is not here,
    unless it needs_text. Raises UsageError where the folder holds no trained model, or not what it
    needs, and for lengths that it can't have.
    """
    if which not in LINKS:
        raise UsageError(f"which must be one of {', '.join(LINKS)}, not {which!r}")
    folder, device = Path(folder), torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("PyTorch sees no GPU: leave out cuda to run on the CPU")
    settings, options = Settings.read(folder)
    options.with_lengths(lengths)  # raises UsageError for lengths that can't be
    model, found = best_model(folder, options, which)
    model = model.with_lengths(**lengths)
    model.settings, model.vocabulary, model.codec = settings, None, None
    try:
        model.vocabulary = find_vocabulary(folder, settings, found, options.n_token)
        model.codec = codec(settings, model.vocabulary)
    except NoVocabulary:
        if needs_text:
            raise
    return model.to(device)


def best_model(
    folder: Path, options: ModelOptions, which: str = "best"
) -> tuple[SegmentModel, checkpoint.Checkpoint]:
    """A model in evaluation mode with the weights of a run's best or last checkpoint.

    How the run computed says nothing of the machine that it is read on.
    """
    find = checkpoint.find_best if which == "best" else checkpoint.find
    found, usual = find(folder), options.with_settings_alone()
    model = build(usual.kept_in(folder / KEPT))
    model.config = usual  # wherever it was built from
    found.load_model(model)
    return model.eval(), found


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """A run's; None where the run is older than vocabularies in run folders.

    Raises UsageError where it is damaged.
    """
    path = folder / VOCABULARY
    try:
        return Vocabulary.from_json(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} can't be used ({error})") from None


def find_vocabulary(
    folder: Path, settings: Settings, found: checkpoint.Checkpoint, n_token: int
) -> Vocabulary:
    """A run's: from its folder, or for an older run made anew from its task or its text.

    n_token: of the model. Raises NoVocabulary where there is neither, and UsageError for one that
    is damaged or another model's, or of symbols that its dataset has not.
    """
    vocabulary = read_vocabulary(folder) or _made_anew(folder, settings, found)
    if len(vocabulary) != n_token:
        raise UsageError(
            f"the vocabulary in {folder} has {len(vocabulary):,} symbols, the model {n_token:,}, "
            "so it is another run's: put its own there"
        )
    if not settings.task:
        try:
            settings.dataset.reading(text_options(settings.train)).tokenizer.adopted(vocabulary)
        except UsageError as error:
            raise UsageError(
                f"the vocabulary in {folder} does not fit its dataset {settings.dataset.name}: "
                f"{error}"
            ) from None
    return vocabulary


def inherited(
    folder: Path, options: ModelOptions, found: checkpoint.Checkpoint, vocabulary: Vocabulary
) -> Inherited:
    """A run's vocabulary, for other texts to be read with."""
    cutoffs = getattr(options, "cutoffs", ())
    return Inherited(vocabulary, str(folder), found.manifest.get("corpus"), cutoffs)


def _made_anew(folder: Path, settings: Settings, found: checkpoint.Checkpoint) -> Vocabulary:
    train = settings.train
    missing = f"{folder} holds no {VOCABULARY}, and "
    if isinstance(settings.dataset, LabelledTexts):
        raise NoVocabulary(f"{missing}those of {settings.dataset.name} are not made anew")
    if settings.task:
        return Vocabulary(settings.dataset.make(settings.task).symbols)
    check_ids_have_meaning(folder, found)
    try:
        corpus = load_text(settings)
    except UsageError as error:
        raise NoVocabulary(f"{missing}its text can't be read ({error})") from None
    if corpus.fingerprint != found.manifest.get("corpus"):
        place = f" at {' '.join(train.data)}" if train.data else ""
        raise NoVocabulary(f"{missing}the text{place} is not the one that it was trained on")
    return corpus.vocabulary


def check_ids_have_meaning(folder: Path, found: checkpoint.Checkpoint) -> None:
    """Raise NoVocabulary for published weights that were converted without a vocabulary.

    Of a run that was trained here the text may still tell.
    """
    if checkpoint.CONVERTED_FROM in found.manifest:
        raise NoVocabulary(
            f"{folder} holds no {VOCABULARY}, so that nobody knows what its ids mean: convert the "
            "checkpoint again with its --vocabulary"
        )


def codec(settings: Settings, vocabulary: Vocabulary) -> Codec:
    """A run's text to ids and back; of a task, whose symbols are characters.

    Raises NoVocabulary for a task with others.
    """
    dataset = settings.dataset
    if not dataset.is_task:
        return Codec(dataset.reading(text_options(settings.train)), vocabulary)
    if longer := [symbol for symbol in vocabulary.symbols if len(symbol) != 1]:
        raise NoVocabulary(f"{longer[0]!r} of {dataset.name} is no character: there is no text")
    return Codec(CHARACTERS, vocabulary)


def newest_run(wanted: Mapping[str, object], lengths: Mapping[str, object]) -> Path:
    """The run in runs/ with the newest checkpoint among those that fit.

    wanted: options that it must have. lengths: of the model, which evaluation may change; a run
    trained with the ones asked for is meant where there is one. Raises UsageError where none fits.
    """
    runs_dir = project_root() / "runs"
    fitting = []
    for path in runs_dir.glob("*/config.json"):
        saved = saved_checkpoints(path.parent)
        if not saved:
            continue
        try:
            settings, model = Settings.read(path.parent)
        except UsageError:  # damaged, or of a model or a dataset that is not here
            continue
        own = _chosen_by(settings, model)
        changeable = model.lengths(model.model)
        must = {**wanted, **{k: v for k, v in lengths.items() if k not in changeable}}
        if settings.task:
            must = paths.all_to_record(must, settings.task.PATHS)
        if _has(own, must):
            fitting.append((_has(own, lengths), saved[-1].stat().st_mtime, path.parent))
    if not fitting:
        raise UsageError(f"no run in {runs_dir} fits: train first, or name its folder: --work_dir")
    return max(fitting)[-1]


def check_is(work_dir: Path, wanted: Mapping[str, object]) -> None:
    """Raise UsageError for a run that has other options than newest_run would ask for."""
    own = _chosen_by(*Settings.read(work_dir))
    for name, value in wanted.items():
        if own.get(name) != value:
            raise UsageError(
                f"the run in {work_dir} has {name} {own.get(name)}, not {value}: leave out {name}, "
                "or name another run"
            )


def _chosen_by(settings: Settings, model: ModelOptions) -> dict:
    """Options by which a run can be chosen."""
    train = settings.train
    return settings.scores_depend_on(model) | {"segments": train.segments, "seed": train.seed}


def _has(own: Mapping, wanted: Mapping) -> bool:
    return all(own.get(name) == value for name, value in wanted.items())
