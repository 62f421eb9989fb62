"""Scores of a model on an algorithmic task: how much of the answers is right.

Free running: the model is fed its own output, as in the paper's figures. Teacher-forced: it is fed
the right answer so far, which can hide that it would have lost the thread. All are from 0 to 1:

    accuracy           of the answer's tokens, free running
    sequence_accuracy  of whole answers
    solve_rate         of whole final answers (quadratic: its last line; else the whole answer)
    forced_...         the same, teacher-forced
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rmt.data.batches import on_device
from rmt.data.tasks.samples import cut
from rmt.data.tasks.task import Task
from rmt.evaluation.generation import generate
from rmt.models.contract import SegmentModel
from rmt.runtime import distributed
from rmt.runtime.precision import autocast
from rmt.runtime.progress import Progress

RATES = ("accuracy", "sequence_accuracy", "solve_rate")


@torch.no_grad()
def evaluate_task(
    model: SegmentModel,
    task: Task,
    samples: np.ndarray,
    tgt_len: int,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    check: Callable[[], None] = lambda: None,
    what: str = "eval",
) -> dict[str, float]:
    """Loss of the answers (teacher-forced, nats per token), the rates above, and n_samples.

    Every sample [L] is one stream in segments of tgt_len. Each process scores its share; the
    result is over all. check is called before every batch and may raise, in all processes alike.
    The model comes back in the mode (training or evaluation) it was in.
    """
    device = torch.device(device)
    was_training = model.training
    total = torch.zeros(1 + 2 * len(RATES), dtype=torch.float64, device=device)
    n_prompt = task.length - task.answer_size
    starts = range(0, len(samples), batch_size)
    model.eval()
    try:
        with Progress(len(starts), what, shown=distributed.is_main()) as bar:
            for start in starts:
                check()
                batch = samples[start : start + batch_size]
                batch = task.rows(batch[distributed.own_streams(len(batch))])
                if len(batch):  # more processes than samples leave some without any
                    prompt = on_device(batch[:, :n_prompt], device)
                    answer = on_device(batch[:, n_prompt:], device)
                    with autocast(device, precision):
                        nll, forced = forced_answers(model, batch, task.scored, tgt_len, device)
                        free = generate(model, prompt, task.answer_size, tgt_len)
                    counts = [nll, *_rates(free == answer, task), *_rates(forced == answer, task)]
                    total += torch.stack(counts)
                bar.update()
    finally:
        model.train(was_training)
    loss, *rates = (value / len(samples) for value in distributed.sum_over_ranks(total.tolist()))
    names = [*RATES, *(f"forced_{name}" for name in RATES)]
    return {"loss": loss, **dict(zip(names, rates, strict=True)), "n_samples": len(samples)}


def forced_answers(
    model: SegmentModel, samples: np.ndarray, scored: np.ndarray, tgt_len: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The most likely next tokens with the right ones fed, those that are scored: [B, answer].

    Before them the sum over samples of their answers' mean loss, in nats.
    """
    state, losses, predicted = None, [], []
    for tokens, targets in cut(samples, scored, tgt_len, device):
        if targets is None:
            state = model.advance(tokens, state)
            continue
        log_probs, state = model.predict(tokens, state)
        n_scored = int((targets[0] >= 0).sum())
        log_probs, targets = log_probs[:, -n_scored:], targets[:, -n_scored:]
        losses.append(-log_probs.gather(2, targets[:, :, None]).squeeze(2))
        predicted.append(log_probs.argmax(dim=-1))
    nll = torch.cat(losses, dim=1).double()
    return nll.mean(dim=1).sum(), torch.cat(predicted, dim=1)


def _rates(right_BA: Tensor, task: Task) -> list[Tensor]:
    """Sums over the samples, in the order of RATES, of what is right in their answers."""
    right = right_BA.double()
    whole = right_BA.all(dim=1).double()
    solved = right_BA[:, -task.final_size :].all(dim=1).double()
    return [right.mean(dim=1).sum(), whole.sum(), solved.sum()]
