"""What a run trains on and how it is scored: text, or the samples of an algorithmic task.

Both classes offer the same methods, and train.py, trainer.py and eval.py know no more of either.
Scores are dictionaries of numbers with at least "loss", in nats per token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from rmt.data.batches import EpochReader, SegmentBatches
from rmt.data.tasks.samples import Curriculum, SampleReader, lessons_for
from rmt.data.tasks.tasks import TaskData, headline, make_task
from rmt.data.text.corpora import Corpus, load_corpus
from rmt.evaluation.tasks import evaluate_task
from rmt.evaluation.text import Protocol, bits_per_character, evaluate, perplexity, readable
from rmt.options.config import TaskConfig, TrainConfig
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.training.recurrence import Stream

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Scoring:
    """What an evaluation needs beside a model and a split."""

    device: torch.device
    precision: str
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class LanguageModelling:
    """Streams of text, every token predicted from those before it."""

    corpus: Corpus
    config: TrainConfig
    protocol: Protocol

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    def check(self) -> None:
        """Raise UsageError if a split is too short for its batches."""
        SegmentBatches(self.corpus.splits["train"], self.config.batch_size, self.config.tgt_len)
        for split in ("valid", "test"):
            ids = self.corpus.splits[split]
            try:
                SegmentBatches(ids, self.protocol.batch_size, self.protocol.tgt_len)
            except UsageError as error:
                raise UsageError(f"in the {split} split, eval_{error}") from None

    def reader(self, device: torch.device) -> EpochReader:
        """This process's share of the training text."""
        batches = SegmentBatches(
            self.corpus.splits["train"],
            self.config.batch_size,
            self.config.tgt_len,
            streams=distributed.own_streams(self.config.batch_size),
            device=device,
        )
        return EpochReader(batches, self.config.seed if self.config.varlen else None)

    def stream(self) -> Stream:
        """The recurrence between segments."""
        return Stream(self.config.bptt_unrolls, self.config.bptt_mode)

    def score(self, model: nn.Module, split: str, how: Scoring, max_steps: int = -1) -> Scores:
        """The scores on a split, or on its first max_steps segments."""
        loss, n_tokens = evaluate(
            model,
            self.corpus.splits[split],
            replace(self.protocol, max_segments=max_steps),
            device=how.device,
            precision=how.precision,
            check=how.check,
            what=split,
        )
        return {"loss": loss, "tokens_scored": n_tokens}

    def error(self, scores: Scores) -> float:
        """What the best checkpoint has least of."""
        return scores["loss"]

    def solved(self, scores: Scores) -> bool:
        return False

    def readable(self, scores: Scores) -> str:
        return readable(scores["loss"], self.corpus.word_level)

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return scores["tokens_scored"], "tokens"

    def describe(self) -> dict:
        """How the scores are made, for a run's records."""
        return self.protocol.describe()

    def result(self, scores: Scores) -> dict:
        """The test scores in a run's result.json."""
        loss = scores["loss"]
        if self.corpus.word_level:
            return {"test_loss": loss, "test_ppl": perplexity(loss)}
        return {"test_loss": loss, "test_bpc": bits_per_character(loss)}


@dataclass(frozen=True)
class AlgorithmicTask:
    """Samples with an answer; the loss and the scores are the answer's alone."""

    data: TaskData
    config: TrainConfig

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint

    def check(self) -> None:
        """Raise UsageError if there are too few samples for a batch, or symbols for a lesson."""
        n_samples, n_full = len(self.data.splits["train"]), self.data.task.n
        if self.config.batch_size > n_samples:
            raise UsageError(
                f"batch_size {self.config.batch_size} is too large for {n_samples} samples"
            )
        if self.config.curriculum > n_full:
            raise UsageError(
                f"curriculum {self.config.curriculum} is more than the samples' {n_full} symbols "
                "or pairs: begin with fewer"
            )

    def reader(self, device: torch.device) -> SampleReader:
        """This process's share of the training samples."""
        return SampleReader(
            self.data.task,
            self.data.splits["train"],
            self.config.batch_size,
            self.config.tgt_len,
            self.config.seed,
            curriculum=self._curriculum() if self.config.curriculum else None,
            streams=distributed.own_streams(self.config.batch_size),
            device=device,
        )

    def _curriculum(self) -> Curriculum:
        """Lessons of which the last, whole samples, begins after half of the training at most."""
        lessons = lessons_for(self.data.task, self.config.curriculum, self.config.tgt_len)
        return Curriculum(lessons, self.config.max_step // 2)

    def stream(self) -> Stream:
        """The recurrence between segments; bptt_unrolls -1 is one window of all of a sample's."""
        n_unrolls = self.config.bptt_unrolls
        if n_unrolls >= 0:
            return Stream(n_unrolls, self.config.bptt_mode)
        return Stream(self.n_segments - 1, "window")

    @property
    def n_segments(self) -> int:
        """Segments of one sample."""
        return -(-(self.data.task.length - 1) // self.config.tgt_len)

    def score(self, model: nn.Module, split: str, how: Scoring, max_steps: int = -1) -> Scores:
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
            device=how.device,
            precision=how.precision,
            check=how.check,
            what=split,
        )

    def error(self, scores: Scores) -> float:
        """What the best checkpoint has least of."""
        return 1 - self._headline(scores)

    def solved(self, scores: Scores) -> bool:
        """Whether training may end here (stop_at)."""
        return 0 < self.config.stop_at <= self._headline(scores)

    def _headline(self, scores: Scores) -> float:
        return scores[headline(self.data.task.name)]

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

    def describe(self) -> dict:
        """How the scores are made, for a run's records."""
        return {"tgt_len": self.config.tgt_len, "batch_size": self.config.eval_batch_size}

    def result(self, scores: Scores) -> dict:
        """The test scores in a run's result.json."""
        named = {f"test_{name}": value for name, value in scores.items()}
        return {"segments": self.n_segments, "test_acc": self._headline(scores), **named}


Workload = LanguageModelling | AlgorithmicTask


def load_text(config: TrainConfig, encoded_dir: str = "", progress: bool = True) -> Corpus:
    """The text of config.dataset, encoded once for all runs."""
    return load_corpus(
        config.dataset,
        config.data or None,
        keep_newlines=config.keep_newlines,
        tokenizer=config.tokenizer,
        encoded_dir=encoded_dir or config.encoded_dir or None,
        progress=progress,
    )


def in_segments(config: TrainConfig, task: TaskConfig) -> TrainConfig:
    """The configuration with the tgt_len that cuts a sample into config.segments segments.

    The last one is shorter where they can't be equal. Raises UsageError where there is no such
    length. Without config.segments tgt_len says how many there are, at least one.
    """
    n_inputs = make_task(config.dataset, task).length - 1
    tgt_len = -(-n_inputs // config.segments) if config.segments else min(config.tgt_len, n_inputs)
    n_segments = -(-n_inputs // tgt_len)
    if config.segments not in (0, n_segments):
        raise UsageError(
            f"{n_inputs} tokens can't be cut into {config.segments} segments of one length: with "
            f"{tgt_len} tokens each they are {n_segments}"
        )
    return replace(config, tgt_len=tgt_len, segments=n_segments)
