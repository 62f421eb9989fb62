"""Scores of a model on an algorithmic task: how much of the answers is right.

Free running: the model is fed its own output, as in the paper's figures. Teacher-forced: it is fed
the right answer so far, which can hide that it would have lost the thread. All are from 0 to 1:

    accuracy           of the answer's tokens, free running
    sequence_accuracy  of whole answers
    solve_rate         of whole final answers (quadratic: its last line; else the whole answer)
    forced_...         the same, teacher-forced
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from rmt.data.tasks.samples import segments
from rmt.data.tasks.task import Task
from rmt.evaluation.generation import generate
from rmt.evaluation.scores import ON_CPU, Scoring
from rmt.models.contract import SegmentModel, evaluating
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
    how: Scoring = ON_CPU,
    what: str = "eval",
) -> dict[str, float]:
    """Loss of the answers (teacher-forced, nats per token), the rates above, and n_samples.

    Every sample [L] is one stream in segments of tgt_len. Each process scores its share; the
    result is over all. The model comes back in the mode (training or evaluation) it was in.
    """
    total = torch.zeros(1 + 2 * len(RATES), dtype=torch.float64, device=how.device)
    starts = range(0, len(samples), batch_size)
    shown = distributed.is_main()
    with evaluating(model), Progress(len(starts), what, shown=shown) as bar:
        for start in starts:
            how.check()
            batch = samples[start : start + batch_size]
            batch = batch[distributed.own_streams(len(batch))]
            if len(batch):  # more processes than samples leave some without any
                read = segments(task, batch, tgt_len, how.device)
                with autocast(how.device, how.precision):
                    nll, free, forced = _right_answers(model, read, task.answer_size, tgt_len)
                counts = [nll, *_rates(free, task), *_rates(forced, task)]
                total += torch.stack(counts)
            bar.update()
    loss, *rates = (value / len(samples) for value in distributed.sum_over_ranks(total.tolist()))
    names = [*RATES, *(f"forced_{name}" for name in RATES)]
    return {"loss": loss, **dict(zip(names, rates, strict=True)), "n_samples": len(samples)}


def _right_answers(
    model: SegmentModel,
    read: Iterable[tuple[Tensor, Tensor | None]],
    answer_size: int,
    tgt_len: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of samples, as segments and their targets: the sum of their answers' mean loss, in nats.

    Then which tokens of the answers are right, free running and with the right ones fed: bool
    [B, answer_size] each. What comes before the answers is read once for both.
    """
    read, answers, state = iter(read), [], None
    for _, after in model.forward_each(_before_answers(read, answers)):
        state = after
    tokens, targets = answers[0]
    prompt = tokens[:, : tokens.shape[1] - _n_scored(targets) + 1]
    said = generate(model, prompt, answer_size, tgt_len, state)
    losses, predicted, wanted = [], [], []
    answers, with_targets = itertools.tee(itertools.chain(answers, read))
    for (_, targets), (log_probs, _) in zip(
        with_targets, model.predict_each(answers, state), strict=True
    ):
        n_scored = _n_scored(targets)
        log_probs, targets = log_probs[:, -n_scored:], targets[:, -n_scored:]
        losses.append(-log_probs.gather(2, targets[:, :, None]).squeeze(2))
        predicted.append(log_probs.argmax(dim=-1))
        wanted.append(targets)
    nll, answer = torch.cat(losses, dim=1).double(), torch.cat(wanted, dim=1)
    return nll.mean(dim=1).sum(), said == answer, torch.cat(predicted, dim=1) == answer


def _before_answers(
    read: Iterator[tuple[Tensor, Tensor | None]], answers: list[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, None]]:
    """The segments without targets; the first one that has some is put into answers."""
    for tokens, targets in read:
        if targets is not None:
            answers.append((tokens, targets))
            return
        yield tokens, None


def _n_scored(targets: Tensor) -> int:
    """Targets of a segment, which are its last ones."""
    return int((targets[0] >= 0).sum())


def _rates(right_BA: Tensor, task: Task) -> list[Tensor]:
    """Sums over the samples, in the order of RATES, of what is right in their answers."""
    right = right_BA.double()
    whole = right_BA.all(dim=1).double()
    solved = right_BA[:, -task.final_size :].all(dim=1).double()
    return [right.mean(dim=1).sum(), whole.sum(), solved.sum()]
