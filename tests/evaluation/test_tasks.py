"""The scores of algorithmic tasks against a count written out, sample by sample, token by token."""

import itertools
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch

from helpers.data import make_task
from helpers.models import ON_BACKBONE, V, tiny_model
from rmt.data.tasks.task import Task
from rmt.evaluation.scores import Scoring
from rmt.evaluation.tasks import RATES, evaluate_task
from rmt.models.scheduled import ScheduledModel
from rmt.options.schedule import SCHEDULES

# As in quadratic, the final answer is the last part of the answer.
TASK = Task(
    name="test",
    symbols=tuple(map(str, range(V))),
    length=10,
    answer_size=5,
    final_size=2,
    kinds=(),
    assemble=np.asarray,
)
N_PROMPT = TASK.length - TASK.answer_size


@torch.no_grad()
def next_token(model, stream: list[int], tgt_len: int) -> torch.Tensor:
    """Log-probabilities of what follows a stream: [V], from its start, segment by segment."""
    state = None
    for start in range(0, len(stream), tgt_len):
        segment = torch.tensor([stream[start : start + tgt_len]])
        log_probs, state = model.predict(segment, state)
    return log_probs[0, -1]


def free_running(model, sample: list[int], tgt_len: int) -> list[int]:
    stream = sample[:N_PROMPT]
    while len(stream) < TASK.length:
        stream.append(next_token(model, stream, tgt_len).argmax().item())
    return stream[N_PROMPT:]


def samples_for(model, tgt_len: int) -> np.ndarray:
    """Five samples: one the model solves, three where single tokens are wrong, and any one.

    Of random ones alone, a model that is not trained would have nearly nothing right.
    """
    random = np.random.default_rng(1)
    samples = random.integers(V, size=(5, TASK.length), dtype=np.uint8)
    for sample, wrong in zip(samples[:4], ([], [0], [2], [0, 4]), strict=True):
        sample[N_PROMPT:] = free_running(model, sample.tolist(), tgt_len)
        for i in wrong:
            sample[N_PROMPT + i] = (sample[N_PROMPT + i] + 1) % V
    return samples


def written_out(model, samples: np.ndarray, tgt_len: int) -> dict[str, float]:
    losses, rates = [], {name: [] for name in (*RATES, *(f"forced_{name}" for name in RATES))}
    for sample in samples.tolist():
        answer, forced = sample[N_PROMPT:], []
        for i in range(N_PROMPT, TASK.length):
            log_probs = next_token(model, sample[:i], tgt_len)
            losses.append(-log_probs[sample[i]].item())
            forced.append(log_probs.argmax().item())
        for prefix, said in (("", free_running(model, sample, tgt_len)), ("forced_", forced)):
            right = [token == wanted for token, wanted in zip(said, answer, strict=True)]
            rates[f"{prefix}accuracy"].append(sum(right) / len(right))
            rates[f"{prefix}sequence_accuracy"].append(all(right))
            rates[f"{prefix}solve_rate"].append(right[-2] and right[-1])
    scores = {name: fmean(values) for name, values in rates.items()}
    return {"loss": fmean(losses), **scores, "n_samples": len(samples)}


# All in one segment; prompt and answer in one of several; a segment per token.
@pytest.mark.parametrize(
    ("name", "tgt_len"), [*((name, n) for name in ON_BACKBONE for n in (20, 4)), ("trxl_rmt", 1)]
)
def test_scores_are_those_written_out(name, tgt_len):
    model = tiny_model(name)
    samples = samples_for(model, tgt_len)
    found = evaluate_task(model, TASK, samples, tgt_len, batch_size=3)
    assert found == pytest.approx(written_out(model, samples, tgt_len), rel=1e-10)


def test_these_samples_tell_the_rates_apart():
    """Otherwise the test above shows less than it claims."""
    model = tiny_model("rmt")
    scores = written_out(model, samples_for(model, 4), 4)
    rates = {name: value for name, value in scores.items() if name not in ("loss", "n_samples")}
    # The first mistake of a sample is the same free running and teacher-forced.
    assert rates.pop("forced_sequence_accuracy") == rates["sequence_accuracy"]
    assert len({*rates.values()}) == 5
    assert 0 < min(rates.values()) < max(rates.values()) < 1


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_the_batch_size_does_not_matter(name):
    model = tiny_model(name)
    samples = samples_for(model, 4)
    expected = evaluate_task(model, TASK, samples, 4, batch_size=5)
    for batch_size in (1, 3, 100):
        found = evaluate_task(model, TASK, samples, 4, batch_size)
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_in_its_mode(training):
    """And is scored without dropout in either."""
    plain, model = tiny_model("trxl_rmt"), tiny_model("trxl_rmt", dropout=0.5)
    samples = samples_for(plain, 4)
    model.train(training)
    assert evaluate_task(model, TASK, samples, 4, 3) == evaluate_task(plain, TASK, samples, 4, 3)
    assert [module.training for module in model.modules()] == [training] * len([*model.modules()])

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate_task(model, TASK, samples, 4, 3, how=Scoring(check=stop))
    assert model.training == training


def test_check_is_called_before_every_batch():
    model, calls = tiny_model("mt"), []
    samples = np.zeros((5, TASK.length), dtype=np.uint8)
    how = Scoring(check=lambda: calls.append(model.training))
    evaluate_task(model, TASK, samples, 4, 2, how=how)
    assert calls == [False] * 3


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_it_is_computed_in_the_precision_that_is_asked_for(precision, dtype):
    model, seen = tiny_model("rmt").float(), set()
    model.layers[0].attention.query.register_forward_hook(lambda _, args, out: seen.add(out.dtype))
    samples = np.zeros((2, TASK.length), dtype=np.uint8)
    evaluate_task(model, TASK, samples, 4, 2, how=Scoring(precision=precision))
    assert seen == {dtype}


def test_nothing_is_kept_for_a_backward_pass():
    model, seen = tiny_model("rmt"), []
    model.layers[0].register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    evaluate_task(model, TASK, np.zeros((2, TASK.length), dtype=np.uint8), 4, 2)
    assert set(seen) == {False}


class EnoughError(Exception):
    pass


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dataset", ["babilong", "facts"])
def test_of_a_sample_that_no_memory_could_hold_few_segments_are_there_at_once(
    dataset, schedule, monkeypatch
):
    """Here the model has enough of it after five."""
    task, tgt_len, n_made = make_task(dataset, sample_len=10**13), 64, 0
    model = tiny_model("armt", n_token=len(task.symbols))
    model.set_schedule(schedule)
    real = ScheduledModel.forward_each

    def five(model, segments, state=None):
        yield from itertools.islice(real(model, segments, state), 5)
        raise EnoughError

    def pieces(number):
        nonlocal n_made
        for piece in task.pieces(number):
            assert n_made < (5 + model.config.n_layer) * tgt_len
            n_made += len(piece)
            yield piece

    monkeypatch.setattr(ScheduledModel, "forward_each", five)
    with pytest.raises(EnoughError):
        evaluate_task(model, replace(task, pieces=pieces), np.array([[2, 0]]), tgt_len, 1)
    assert n_made > 5 * tgt_len
