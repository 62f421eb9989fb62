"""Scores of a model on text: its mean loss in nats per token."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rmt.data.batches import IGNORED
from rmt.data.documents import batches_of
from rmt.evaluation.scores import ON_CPU, Scoring
from rmt.models.contract import SegmentModel, State, evaluating
from rmt.models.mixed import forward_in_turn
from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig
from rmt.runtime import distributed
from rmt.runtime.precision import autocast
from rmt.runtime.progress import Progress


@dataclass(frozen=True)
class Protocol:
    """How a model is scored; lengths in tokens.

    lengths are the model's settings during the evaluation (SegmentModel.with_lengths).
    """

    tgt_len: int
    batch_size: int
    lengths: dict
    max_segments: int = -1

    def describe(self) -> dict:
        return {"tgt_len": self.tgt_len, "batch_size": self.batch_size, **self.lengths}


def in_train_protocol(model: ModelOptions, train: TrainConfig) -> Protocol:
    """The evaluation inside training, which the paper's numbers come from.

    Raises UsageError where the model can't be scored in segments of that length.
    """
    lengths = model.lengths_in_evaluation(train.tgt_len, train.n_eval)
    model.with_lengths(lengths)
    return Protocol(train.n_eval, train.eval_batch_size, lengths)


@torch.no_grad()
def evaluate(
    model: SegmentModel,
    ids: np.ndarray,
    protocol: Protocol,
    *,
    how: Scoring = ON_CPU,
    what: str = "eval",
    keep: Callable[[int, Tensor, State], None] = lambda segment, nll_BT, state: None,
    state: State | None = None,
    n_read: int = 0,
    documents: Sequence[int] | None = None,
) -> tuple[float, int]:
    """Mean loss in nats per token over a corpus, and the number of tokens scored.

    The state is carried from the first segment to the last; every token counts once, so a short
    last segment weighs what it holds. Each process scores its own streams; the result is over all.
    The model comes back in the mode (training or evaluation) it was in.

    keep: is called after every segment with its number, the nats of its tokens [B, T] and the state
        after it.
    state, n_read: the streams go on from there, and of the first segment so many predictions were
        scored before.
    documents: the places where the state starts anew, in batches of documents (DocumentBatches);
        None: it never does.
    """
    sizes = (protocol.batch_size, protocol.tgt_len)
    share = {"streams": distributed.own_streams(protocol.batch_size), "device": how.device}
    segments = batches_of(ids, documents, *sizes, **share)
    n_segments = len(segments) if protocol.max_segments < 0 else protocol.max_segments
    total = torch.zeros((), dtype=torch.float64, device=how.device)
    n_tokens = torch.zeros((), dtype=torch.int64, device=how.device)
    with (
        evaluating(model),
        Progress(min(n_segments, len(segments)), what, shown=distributed.is_main()) as bar,
        autocast(how.device, how.precision),
    ):
        view = model.with_lengths(**protocol.lengths)
        checked = _checked(itertools.islice(segments, n_segments), how.check, bar)
        taken, own = itertools.tee(checked)
        if documents is None:
            each = view.forward_each(taken, state)
        else:
            with_begins = ((segment, begins) for *segment, begins in taken)
            each = forward_in_turn(view, view.advance, with_begins, state)
        for i, ((nll, after), (_, targets, *_)) in enumerate(zip(each, own, strict=True)):
            first = 0 if i else n_read
            nll = nll[:, first:]
            total += nll.double().sum()
            n_tokens += (targets[:, first:] != IGNORED).sum()
            keep(i, nll, after)
    total, n_tokens = distributed.sum_over_ranks([total.item(), n_tokens.item()])
    return total / n_tokens, int(n_tokens)


def _checked(
    segments: Iterable[tuple[Tensor, ...]], check: Callable[[], None], bar: Progress
) -> Iterator[tuple[Tensor, ...]]:
    """The segments that this process has streams of, with a check before each, and progress."""
    for segment in segments:
        check()
        if len(segment[0]):  # more processes than streams leave some without any
            yield segment
        bar.update()
