"""Texts with labels: what a run trains on, and how much of the labels a model tells.

A model has told a label if that is, of all labels, the one that it gives the highest probability
after the text's last token. Scores, all from 0 to 1 but for the loss:

    loss       of the label, in nats; of a language model among all words
    accuracy   right labels of all
    f1         of two labels that of the positive one, of more the mean over all of them (macro)

F1 of a label is 2 TP / (2 TP + FP + FN), and 0 where it is neither told nor right anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rmt.data.batches import on_device
from rmt.data.labelled.dataset import LabelledOptions
from rmt.data.labelled.encoded import LabelledData
from rmt.data.labelled.samples import TextReader, cut, n_segments, texts_of
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.scores import Scores, Scoring
from rmt.models.contract import SegmentModel, evaluating
from rmt.options.training import TrainConfig
from rmt.options.unrolling import Unrolling
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.precision import autocast
from rmt.runtime.progress import Progress


@dataclass(frozen=True)
class Classification:
    """Texts with labels; the loss is the label's alone."""

    data: LabelledData
    config: TrainConfig
    options: LabelledOptions

    @property
    def fingerprint(self) -> str:
        return f"{self.data.fingerprint}-{self.options.max_segments}"

    @property
    def vocabulary(self) -> Vocabulary:
        return self.data.vocabulary

    @property
    def positive(self) -> int:
        """The number of the label that F1 is of, where there are two."""
        labels = self.data.labels
        return labels.index(self.options.positive) if self.options.positive else len(labels) - 1

    def check_training(self) -> None:
        """Raise UsageError if there are too few texts for a batch."""
        n_texts = len(self.data.splits["train"])
        if self.config.batch_size > n_texts:
            raise UsageError(
                f"batch_size {self.config.batch_size} is too large for {n_texts} texts"
            )

    def check_scoring(self, splits: Sequence[str], prefix: str = "") -> None:
        """Texts can be scored in batches of any size."""

    def about_data(self) -> list[str]:
        """Lines for the log: how many texts there are of each label, and how long they are."""
        lines = []
        for name, split in self.data.splits.items():
            counts = np.bincount(split.labels, minlength=len(self.data.labels)).tolist()
            of_each = (f"{n} {label}" for label, n in zip(self.data.labels, counts, strict=True))
            median = int(np.median(split.lengths))
            lines.append(
                f"| {name}: {len(split):,} texts ({', '.join(of_each)}), tokens: median "
                f"{median:,}, most {split.lengths.max():,}"
            )
        if len(self.data.labels) == 2:
            lines.append(f"| F1 is that of {self.data.labels[self.positive]}")
        return lines

    def reader(self) -> TextReader:
        """This process's share of the texts to train on."""
        return TextReader(
            self.data,
            self.config.batch_size,
            self.config.tgt_len,
            self.config.seed,
            segments_at=self._segments_at,
            streams=distributed.own_streams(self.config.batch_size),
        )

    def _segments_at(self, step: int) -> int:
        """How many segments of a text are read at most in a step, counted from 0; 0: all."""
        if self.config.curriculum_segments:
            return self.config.unrolls_at(step) + 1
        return self.options.max_segments

    @property
    def n_segments(self) -> int:
        """Of the longest text to train on, as it is read."""
        lengths = self.data.splits["train"].lengths
        return int(n_segments(lengths, self.config.tgt_len, self.options.max_segments).max())

    @property
    def unrolling(self) -> Unrolling:
        return self.config.unrolling(self.n_segments)

    def score(self, model: SegmentModel, split: str, how: Scoring, max_steps: int = -1) -> Scores:
        """The scores on a split, or on its first max_steps batches."""
        return evaluate_labels(
            model,
            self.data,
            split,
            self.config.tgt_len,
            self.config.eval_batch_size,
            max_segments=self.options.max_segments,
            positive=self.positive,
            how=how,
            max_steps=max_steps,
        )

    def error(self, scores: Scores) -> float:
        """What the best checkpoint has least of."""
        return 1 - scores["f1"]

    def solved(self, scores: Scores) -> bool:
        """Whether training may end here (stop_at)."""
        return 0 < self.config.stop_at <= scores["f1"]

    def readable(self, scores: Scores) -> str:
        text = f"loss {scores['loss']:7.4f}"
        if "f1" in scores:
            text += f" | F1 {scores['f1']:.4f} | accuracy {scores['accuracy']:.4f}"
        return text

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return scores["n_samples"], "texts"

    def record(self, scores: Scores) -> dict:
        """The scores, of which F1 is the one that models are compared by."""
        return dict(scores)

    def describe(self) -> dict:
        """How the scores are made, for a run's records."""
        return {
            "tgt_len": self.config.tgt_len,
            "batch_size": self.config.eval_batch_size,
            "max_segments": self.options.max_segments,
        }

    def result(self, scores: Scores) -> dict:
        """The test scores in a run's result.json."""
        named = {f"test_{name}": value for name, value in scores.items()}
        texts = {f"{name}_texts": len(split) for name, split in self.data.splits.items()}
        return {
            "segments": self.n_segments,
            "labels": list(self.data.labels),
            **texts,
            **named,
            "test_acc": scores["accuracy"],
        }


@torch.no_grad()
def evaluate_labels(
    model: SegmentModel,
    data: LabelledData,
    split: str,
    tgt_len: int,
    batch_size: int,
    *,
    max_segments: int,
    positive: int,
    how: Scoring,
    max_steps: int = -1,
) -> dict[str, float]:
    """The scores above, and n_samples, on a split or on as many of its first texts as
    max_steps batches hold.

    Texts of as many segments are read side by side. Each process scores its share; the result is
    over all. The model comes back in the mode (training or evaluation) it was in.
    """
    texts, n_labels = data.splits[split], len(data.labels)
    loss, told = 0.0, np.zeros((n_labels, n_labels))
    # Limited in the split's order, in which short texts and long ones come as they do in all of it.
    lengths = texts.lengths if max_steps < 0 else texts.lengths[: max_steps * batch_size]
    batches = _batches(n_segments(lengths, tgt_len, max_segments), batch_size)
    shown = distributed.is_main()
    with evaluating(model), Progress(len(batches), split, shown=shown) as bar:
        for numbers in batches:
            how.check()
            own = numbers[distributed.own_streams(len(numbers))]
            if len(own):  # more processes than texts leave some without any
                read = texts_of(texts, own, tgt_len, max_segments)
                log_probs_BV = _after_texts(model, read, data.padding, tgt_len, how)
                log_probs_BC = log_probs_BV[:, data.first_label :].double()
                labels_B = on_device(texts.labels[own], how.device)
                loss -= log_probs_BC.gather(1, labels_B[:, None]).sum().item()
                said_B = log_probs_BC.argmax(dim=1).cpu().numpy()
                np.add.at(told, (texts.labels[own], said_B), 1)
            bar.update()
    loss, *counts = distributed.sum_over_ranks([loss, *told.ravel().tolist()])
    told = np.array(counts).reshape(n_labels, n_labels)
    n_texts = int(told.sum())
    f1 = f1_of_each(told)
    return {
        "loss": loss / n_texts,
        "accuracy": float(np.trace(told)) / n_texts,
        "f1": float(f1[positive] if n_labels == 2 else f1.mean()),
        "n_samples": n_texts,
    }


def f1_of_each(told: np.ndarray) -> np.ndarray:
    """F1 of every label, [C]. told: how many texts of a label (row) were told to be of which."""
    right = np.diag(told)
    either = told.sum(axis=0) + told.sum(axis=1)
    return np.divide(2 * right, either, out=np.zeros(len(told)), where=either > 0)


def _batches(numbers: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Which texts are read side by side; numbers: of segments, of each."""
    alike = (np.flatnonzero(numbers == n) for n in np.unique(numbers))
    return [own[i : i + batch_size] for own in alike for i in range(0, len(own), batch_size)]


def _after_texts(
    model: SegmentModel, texts: Sequence[np.ndarray], padding: int, tgt_len: int, how: Scoring
) -> torch.Tensor:
    """The log-probabilities of what follows texts of as many segments: [B, V]."""
    segments = [on_device(part.numpy(), how.device) for part in cut(texts, padding, tgt_len)[0]]
    state = None
    with autocast(how.device, how.precision):
        for _, after in model.forward_each((part, None) for part in segments[:-1]):
            state = after
        return model.decoder(state, tgt_len, len(texts)).feed(segments[-1])
