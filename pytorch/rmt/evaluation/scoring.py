"""Score a trained run anew: which data, which lengths, and what came out."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rmt.data.labelled.dataset import LabelledTexts
from rmt.data.tasks.task import SampleOptions
from rmt.data.text.corpora import Inherited
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.text import Protocol, in_train_protocol
from rmt.evaluation.workloads import (
    LanguageModelling,
    Scores,
    Scoring,
    Workload,
    load_workload,
)
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.options.evaluation import EvalConfig
from rmt.options.option import default_of
from rmt.options.schedule import DIAGONAL
from rmt.options.scope import LISTS_OF_PATHS
from rmt.runs.checkpoint import Checkpoint
from rmt.runs.settings import Settings
from rmt.runs.trained import (
    best_model,
    check_ids_have_meaning,
    inherited,
    read_vocabulary,
)
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError

# Options without a meaning to a task: its segments and cache are always those of training.
TEXT_ONLY = ("protocol", "tgt_len")


@dataclass(frozen=True)
class Evaluation:
    """A run's model with the data that it is scored on; samples: the options of a task's."""

    model: SegmentModel
    checkpoint: Checkpoint
    workload: Workload
    how: Scoring
    config: EvalConfig
    samples: Mapping[str, object]

    @property
    def splits(self) -> tuple[str, ...]:
        return ("valid", "test") if self.config.split == "all" else (self.config.split,)

    def scores(self) -> Iterator[tuple[str, Scores, float]]:
        """Of every split, with the seconds that it took."""
        for split in self.splits:
            started = time.perf_counter()
            scores = self.workload.score(self.model, split, self.how, self.config.max_eval_steps)
            yield split, scores, time.perf_counter() - started

    def describe(self) -> dict:
        """How the scores are made."""
        return self.workload.describe()

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return self.workload.amount(scores)

    def readable(self, scores: Scores) -> str:
        return self.workload.readable(scores)

    def record(self, scores: Scores) -> dict:
        """The scores for --json."""
        return self.workload.record(scores)


def prepare(
    config: EvalConfig,
    work_dir: Path,
    lengths: Mapping[str, object],
    samples: Mapping[str, object] | None = None,
) -> Evaluation:
    """Read a run and its data.

    lengths: of the model, those that were given. samples: of a task's samples, the options in which
    they shall differ from those of training.

    Raises UsageError for what can't be scored, or not in this way.
    """
    device = distributed.start(config.cuda)
    settings, options = Settings.read(work_dir)
    if samples:
        settings = other_samples(settings, samples)
    if config.schedule == DIAGONAL and settings.train.reset_at_documents:
        raise UsageError(
            "schedule diagonal is not possible where documents begin by themselves, as they do in "
            "this run: leave it out"
        )
    how = arithmetic(config, settings, device)
    model, found = best_model(work_dir, options, config.checkpoint)
    model.set_schedule(config.schedule or settings.train.schedule)
    vocabulary = read_vocabulary(work_dir)
    if vocabulary is None:
        check_ids_have_meaning(work_dir, found)
    own = inherited(work_dir, options, found, vocabulary) if vocabulary else None
    workload = _workload(config, settings, options, lengths, own)
    _check_data(vocabulary, found, workload)
    shown = settings.task.recorded() if settings.task else {}
    evaluation = Evaluation(model.to(device), found, workload, how, config, shown)
    workload.check_scoring(evaluation.splits)
    return evaluation


def other_samples(settings: Settings, samples: Mapping[str, object]) -> Settings:
    """The settings with samples of another size, in segments as long as in training.

    Raises UsageError for a run on text, and for options that its task has not.
    """
    dataset = settings.dataset
    for name in samples:
        if not settings.task or not hasattr(settings.task, name):
            raise UsageError(f"{name} means nothing to dataset {dataset.name}: leave it out")
    task = replace(settings.task, **samples)
    if isinstance(task, SampleOptions) and any(name in task.own() for name in samples):
        task = replace(task, train_samples=1)  # nobody trains on them
    return replace(settings, task=task)


def arithmetic(config: EvalConfig, settings: Settings, device: torch.device) -> Scoring:
    """Where scores are computed, and in which precision."""
    precision = config.precision or settings.train.precision
    if precision == "fp16" and not config.cuda:
        raise UsageError("precision fp16 needs --cuda; on a CPU choose --precision bf16 or fp32")
    return Scoring(device, precision)


def _workload(
    config: EvalConfig,
    settings: Settings,
    options: ModelOptions,
    lengths: Mapping[str, object],
    vocabulary: Inherited | None,
) -> Workload:
    """The run's data and how to score it. vocabulary: the run's, if it is kept."""
    train = settings.train
    if settings.task:
        for name, value in lengths.items():
            own = getattr(options, name, None)
            if value != own:
                raise UsageError(f"this run was trained with {name} {own}: leave {name} out")
        in_files = isinstance(settings.dataset, LabelledTexts)
        for name in TEXT_ONLY if in_files else (*TEXT_ONLY, *LISTS_OF_PATHS):
            if getattr(config, name) != default_of(EvalConfig, name):
                raise UsageError(f"{name} is for text; this is {train.dataset}: leave it out")
        train = replace(train, eval_batch_size=config.batch_size or train.eval_batch_size)
    else:
        protocol = choose_protocol(config, settings, options, lengths)
    if config.data:
        train = replace(train, **{name: getattr(config, name) for name in LISTS_OF_PATHS})
    settings = replace(settings, train=train)
    _, workload = load_workload(settings, inherited=vocabulary, encoded_dir=config.encoded_dir)
    if isinstance(workload, LanguageModelling):
        return replace(workload, protocol=protocol)
    return workload


def choose_protocol(
    config: EvalConfig, settings: Settings, options: ModelOptions, given: Mapping[str, object]
) -> Protocol:
    """The protocol asked for, with single lengths replaced where they were given."""
    protocol = in_train_protocol(options, settings.train)
    if config.protocol == "txl":
        published = settings.dataset.published_evaluation
        tgt_len, lengths = options.published_evaluation(settings.dataset.name, published)
        protocol = replace(protocol, tgt_len=tgt_len, lengths=lengths)
    lengths = {**protocol.lengths, **given}
    options.with_lengths(lengths)  # raises UsageError for lengths that can't be
    return replace(
        protocol,
        tgt_len=config.tgt_len or protocol.tgt_len,
        batch_size=config.batch_size or protocol.batch_size,
        lengths={name: lengths[name] for name in lengths if name in options.lengths(options.model)},
        max_segments=config.max_eval_steps,
    )


def _check_data(vocabulary: Vocabulary | None, found: Checkpoint, workload: Workload) -> None:
    """Raise UsageError where ids would mean other symbols than in training.

    vocabulary: the run's, which other data is read with, if it is text.
    """
    if found.manifest.get("corpus") == workload.fingerprint:
        return
    if vocabulary is None:
        raise UsageError(
            "this is not the data the run was trained on, and its folder holds no vocabulary to "
            "compare with: give --data the same text"
        )
    if vocabulary.symbols != workload.vocabulary.symbols:
        raise UsageError(
            "this is not the data the run was trained on, and its ids mean other symbols: give the "
            "run its own vocabulary"
        )
