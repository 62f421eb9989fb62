"""What a run trains on and how it is scored: text, the samples of an algorithmic task, or texts
with labels.

The classes offer the same methods, and training and evaluation know no more of any. Scores are
dictionaries of numbers with at least "loss", in nats per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rmt.data import registry
from rmt.data.batches import EpochReader, SegmentBatches
from rmt.data.documents import DocumentBatches, DocumentReader, batches_of
from rmt.data.labelled.dataset import LabelledTexts
from rmt.data.metrics import Metric
from rmt.data.tasks.curriculum import Curriculum
from rmt.data.tasks.samples import SampleReader
from rmt.data.tasks.stored import load_task
from rmt.data.tasks.task import TaskData
from rmt.data.text.corpora import Corpus, Inherited
from rmt.data.text.dataset import OF_A_MODEL
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.classification import Classification
from rmt.evaluation.scores import Scores, Scoring
from rmt.evaluation.tasks import evaluate_task
from rmt.evaluation.text import Protocol, evaluate, in_train_protocol
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig
from rmt.options.unrolling import Unrolling
from rmt.runs.settings import Settings, text_options
from rmt.runs.text import load_text
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class LanguageModelling:
    """Streams of text, every token predicted from those before it."""

    corpus: Corpus
    config: TrainConfig
    protocol: Protocol

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    @property
    def vocabulary(self) -> Vocabulary:
        return self.corpus.vocabulary

    @property
    def metric(self) -> Metric:
        return self.corpus.metric

    def check_training(self) -> None:
        """Raise UsageError if a split is too short for its batches."""
        self._batches("train", self.config.batch_size, self.config.tgt_len)
        self.check_scoring(("valid", "test"), "eval_")

    def check_scoring(self, splits: Sequence[str], prefix: str = "") -> None:
        """Raise UsageError if a split is too short for its batches.

        prefix: what the program calls evaluation's batch_size and tgt_len by.
        """
        for split in splits:
            try:
                self._batches(split, self.protocol.batch_size, self.protocol.tgt_len)
            except UsageError as error:
                raise UsageError(f"in the {split} split, {prefix}{error}") from None

    def reader(self) -> EpochReader:
        """This process's share of the training text."""
        own = distributed.own_streams(self.config.batch_size)
        batches = self._batches("train", self.config.batch_size, self.config.tgt_len, own)
        if self.config.reset_at_documents:
            return DocumentReader(batches)
        return EpochReader(batches, self.config.seed if self.config.varlen else None)

    def _batches(
        self, split: str, batch_size: int, tgt_len: int, streams: slice = slice(None)
    ) -> SegmentBatches | DocumentBatches:
        ids, documents = self.corpus.splits[split], self.documents_of(split)
        return batches_of(ids, documents, batch_size, tgt_len, streams=streams)

    def documents_of(self, split: str) -> Sequence[int] | None:
        """Where the state starts anew; None where it never does."""
        return self.corpus.documents_of(split) if self.config.reset_at_documents else None

    def n_segments(self, split: str) -> int:
        """Of a split in evaluation."""
        return len(self._batches(split, self.protocol.batch_size, self.protocol.tgt_len))

    def about_data(self) -> list[str]:
        """Lines for the log: what a token is, how many there are, and how they were split."""
        corpus = self.corpus
        sizes = []
        for split, ids in corpus.splits.items():
            n_documents = len(corpus.documents_of(split))
            several = f" in {n_documents:,} documents" if n_documents > 1 else ""
            sizes.append(f"{split} {len(ids):,}{several}")
        lines = [f"| tokens: {', '.join(sizes)}, of {len(self.vocabulary):,} different ones"]
        if corpus.how_split:
            lines.append(f"| split: {corpus.how_split}")
        if corpus.how_split and not self.config.tokenizer.startswith(OF_A_MODEL):
            unit, other, otherwise = (
                ("a word", "char", "a character")
                if self.config.tokenizer == "word"
                else ("a character", "word", "a word")
            )
            lines.append(f"| a token is {unit}; with --tokenizer {other} it is {otherwise}")
        return lines

    @property
    def unrolling(self) -> Unrolling:
        return self.config.unrolling()

    def score(self, model: SegmentModel, split: str, how: Scoring, max_steps: int = -1) -> Scores:
        """The scores on a split, or on its first max_steps segments."""
        loss, n_tokens = evaluate(
            model,
            self.corpus.splits[split],
            replace(self.protocol, max_segments=max_steps),
            how=how,
            what=split,
            documents=self.documents_of(split),
        )
        return {"loss": loss, "tokens_scored": n_tokens}

    def error(self, scores: Scores) -> float:
        """What the best checkpoint has least of."""
        return scores["loss"]

    def solved(self, scores: Scores) -> bool:
        return False

    def readable(self, scores: Scores) -> str:
        return self.metric.readable(scores["loss"])

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return scores["tokens_scored"], "tokens"

    def record(self, scores: Scores) -> dict:
        """The scores with the one that models are compared by."""
        return {**scores, self.metric.name: self.metric.of_loss(scores["loss"])}

    def describe(self) -> dict:
        """How the scores are made, for a run's records."""
        return self.protocol.describe()

    def result(self, scores: Scores) -> dict:
        """The test scores in a run's result.json."""
        loss = scores["loss"]
        return {"test_loss": loss, self.metric.key: self.metric.of_loss(loss)}


@dataclass(frozen=True)
class AlgorithmicTask:
    """Samples with an answer; the loss and the scores are the answer's alone."""

    data: TaskData
    config: TrainConfig

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.data.task.symbols)

    def check_training(self) -> None:
        """Raise UsageError if there are too few samples for a batch, or symbols for a lesson."""
        n_samples, n_full = len(self.data.splits["train"]), self.data.task.n
        if self.config.batch_size > n_samples:
            raise UsageError(
                f"batch_size {self.config.batch_size} is too large for {n_samples} samples"
            )
        if self.config.curriculum > n_full:
            raise UsageError(
                f"curriculum {self.config.curriculum} is more than the {n_full} that whole samples "
                "have: begin with fewer"
            )

    def check_scoring(self, splits: Sequence[str], prefix: str = "") -> None:
        """Samples can be scored in batches of any size."""

    def about_data(self) -> list[str]:
        """Lines for the log: there are none, for the options say all."""
        return []

    def reader(self) -> SampleReader:
        """This process's share of the training samples."""
        return SampleReader(
            self.data.task,
            self.data.splits["train"],
            self.config.batch_size,
            self.config.tgt_len,
            self.config.seed,
            curriculum=self._curriculum() if self.config.curriculum else None,
            streams=distributed.own_streams(self.config.batch_size),
        )

    def _curriculum(self) -> Curriculum:
        """Lessons of which the last, whole samples, begins after half of the training at most."""
        lessons = self.data.task.lessons(self.config.curriculum, self.config.tgt_len)
        return Curriculum(lessons, self.config.max_step // 2, self.data.task.learned_at)

    @property
    def unrolling(self) -> Unrolling:
        return self.config.unrolling(self.n_segments)

    @property
    def n_segments(self) -> int:
        """Segments of one sample."""
        return -(-(self.data.task.length - 1) // self.config.tgt_len)

    def score(self, model: SegmentModel, split: str, how: Scoring, max_steps: int = -1) -> Scores:
        """The scores on a split, or on its first max_steps batches."""
        samples = self.data.splits[split]
        if max_steps >= 0:
            samples = samples[: max_steps * self.config.eval_batch_size]
        return evaluate_task(
            model,
            self.data.task,
            samples,
            self.config.tgt_len,
            self.config.eval_batch_size,
            how=how,
            what=split,
        )

    def error(self, scores: Scores) -> float:
        """What the best checkpoint has least of."""
        return 1 - self._headline(scores)

    def solved(self, scores: Scores) -> bool:
        """Whether training may end here (stop_at)."""
        return 0 < self.config.stop_at <= self._headline(scores)

    def _headline(self, scores: Scores) -> float:
        return scores[registry.find(self.data.task.name).headline]

    def readable(self, scores: Scores) -> str:
        text = f"loss {scores['loss']:7.4f}"
        if "accuracy" in scores:
            text += (
                f" | free-running: tokens {scores['accuracy']:.4f}, "
                f"answers {scores['solve_rate']:.4f} | teacher-forced: tokens "
                f"{scores['forced_accuracy']:.4f}, answers {scores['forced_solve_rate']:.4f}"
            )
        return text

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return scores["n_samples"], "samples"

    def record(self, scores: Scores) -> dict:
        """The scores, of which accuracy is the one that models are compared by."""
        return dict(scores)

    def describe(self) -> dict:
        """How the scores are made, for a run's records."""
        return {"tgt_len": self.config.tgt_len, "batch_size": self.config.eval_batch_size}

    def result(self, scores: Scores) -> dict:
        """The test scores in a run's result.json."""
        named = {f"test_{name}": value for name, value in scores.items()}
        return {"segments": self.n_segments, "test_acc": self._headline(scores), **named}


Workload = LanguageModelling | AlgorithmicTask | Classification


def load_workload(
    settings: Settings,
    *,
    inherited: Inherited | None = None,
    encoded_dir: str = "",
    progress: bool = True,
) -> tuple[ModelOptions, Workload]:
    """Read a run's data, encoded once for all runs, and complete the model's options with it.

    inherited: the vocabulary that a text is read with, instead of its own. encoded_dir: instead of
    the settings' own.
    """
    train = settings.train
    encoded_dir = encoded_dir or train.encoded_dir or None
    if isinstance(settings.dataset, LabelledTexts):
        data = settings.dataset.load(
            train.data,
            text_options(train),
            settings.task,
            inherited=inherited,
            encoded_dir=encoded_dir,
            progress=progress,
        )
        model = settings.model(len(data.vocabulary), n_labels=len(data.labels))
        return model, Classification(data, train, settings.task)
    if settings.task:
        data = load_task(settings.dataset, settings.task, encoded_dir, progress)
        model = settings.model(len(data.task.symbols), n_labels=data.task.n_labels)
        return model, AlgorithmicTask(data, train)
    corpus = load_text(settings, inherited=inherited, encoded_dir=encoded_dir, progress=progress)
    model = settings.model(len(corpus.vocabulary), corpus.cutoffs)
    return model, LanguageModelling(corpus, train, in_train_protocol(model, train))
