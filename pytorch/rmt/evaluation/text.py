"""Scores of a model on text: loss in nats per token, perplexity, bits per character."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rmt.data.batches import SegmentBatches
from rmt.options.config import ModelConfig, TrainConfig
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.precision import autocast
from rmt.runtime.progress import Progress


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token; inf where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_character(loss: float) -> float:
    return loss / math.log(2)


def readable(loss: float, word_level: bool) -> str:
    """A loss with the figure people compare: perplexity of words, bits per character otherwise."""
    if word_level:
        return f"loss {loss:5.2f} | ppl {perplexity(loss):9.3f}"
    return f"loss {loss:5.2f} | bpc {bits_per_character(loss):9.5f}"


@dataclass(frozen=True)
class Protocol:
    """How a model is scored; lengths in tokens.

    lengths are the model's settings during the evaluation (MemTransformerLM.with_lengths).
    """

    tgt_len: int
    batch_size: int
    lengths: dict
    max_segments: int = -1

    def describe(self) -> dict:
        return {"tgt_len": self.tgt_len, "batch_size": self.batch_size, **self.lengths}


def in_train_protocol(model: ModelConfig, train: TrainConfig) -> Protocol:
    """The evaluation inside training, which the paper's numbers come from.

    As in Transformer-XL, a cache shrinks or grows by what the evaluation's segments are longer or
    shorter, so that the context, cache and segment together, is that of training. Raises
    UsageError where nothing of the cache would be left.
    """
    lengths = {}
    if model.n_cached:
        cache_len = model.n_cached + train.tgt_len - train.n_eval
        if cache_len < 1:
            raise UsageError(
                f"eval_tgt_len {train.n_eval} is so much longer than tgt_len {train.tgt_len} that "
                f"nothing of the cache of {model.n_cached} would be left: choose a shorter one"
            )
        lengths[model.cache_option] = cache_len
    return Protocol(train.n_eval, train.eval_batch_size, lengths)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    ids: np.ndarray,
    protocol: Protocol,
    *,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    check: Callable[[], None] = lambda: None,
    what: str = "eval",
) -> tuple[float, int]:
    """Mean loss in nats per token over a corpus, and the number of tokens scored.

    The state is carried from the first segment to the last; every token counts once, so a short
    last segment weighs what it holds. Each process scores its own streams; the result is over all.
    check is called before every segment and may raise, in all processes alike. The model comes
    back in the mode (training or evaluation) it was in.
    """
    segments = SegmentBatches(
        ids,
        protocol.batch_size,
        protocol.tgt_len,
        streams=distributed.own_streams(protocol.batch_size),
        device=device,
    )
    n_segments = len(segments) if protocol.max_segments < 0 else protocol.max_segments
    view = model.with_lengths(**protocol.lengths)
    was_training, state = model.training, None
    total = torch.zeros((), dtype=torch.float64, device=device)
    n_tokens = 0
    view.eval()
    try:
        with Progress(min(n_segments, len(segments)), what, shown=distributed.is_main()) as bar:
            for tokens, targets in itertools.islice(segments, n_segments):
                check()
                if len(tokens):  # more processes than streams leave some without any
                    with autocast(torch.device(device), precision):
                        nll, state = view(tokens, targets, state)
                    total += nll.double().sum()
                    n_tokens += nll.numel()
                bar.update()
    finally:
        model.train(was_training)
    total, n_tokens = distributed.sum_over_ranks([total.item(), n_tokens])
    return total / n_tokens, int(n_tokens)
