"""The training loop: its steps against a loop written out, and steps that go wrong."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from helpers.programs import (
    RMT,
    TRXL,
    assert_one_sentence,
    records,
    result,
    run,
    steps_saved,
    weights_of,
)
from rmt import train
from rmt.data.batches import SegmentBatches
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig
from rmt.runs import checkpoint
from rmt.runs.settings import Settings
from rmt.runs.text import load_text
from rmt.training import trainer
from rmt.training.recurrence import Stream
from rmt.training.step import Step
from rmt.training.trainer import Trainer


@pytest.fixture(autouse=True)
def double_precision():
    """So that sums in another order give nearly the same."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_steps_are_those_of_a_loop_written_out(tiny, tmp_path):
    """Transformer-XL with a cache: the state goes on, the optimizer is Adam, gradients clipped."""
    n_steps = 70  # of 66 or 67 in an epoch
    flags = [*tiny, *TRXL, "--max_step", n_steps, "--clip", "0.1", "--warmup_step", "5"]
    assert run(train.main, *flags, "--work_dir", tmp_path).status == 0

    settings = Settings.of({"data": tiny[3], "encoded_dir": tiny[5], "mem_len": 1})
    corpus = load_text(settings)
    torch.manual_seed(settings.train.seed)
    sizes = {"n_layer": 2, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 16}
    model = MemTransformerLM(ModelConfig(n_token=51, model="trxl", mem_len=8, **sizes))
    adam = torch.optim.Adam(model.parameters())
    losses, epochs, n_tokens = [], [], 0
    epoch = 0
    while len(losses) < n_steps:
        epoch, state = epoch + 1, None
        for tokens, targets in SegmentBatches(corpus.splits["train"], 4, 8):
            step = len(losses)
            if step < 5:
                adam.param_groups[0]["lr"] = 0.01 * (step + 1) / 5
            else:
                turn = math.pi * (step - 5) / (n_steps - 5)
                adam.param_groups[0]["lr"] = 0.005 * (1 + math.cos(turn))
            nll, state = model(tokens, targets, state)
            adam.zero_grad()
            nll.mean().backward()
            norm = sum(parameter.grad.square().sum() for parameter in model.parameters()).sqrt()
            for parameter in model.parameters():
                parameter.grad *= min(1.0, 0.1 / norm.item())
            adam.step()
            losses.append(nll.mean().item())
            epochs.append(epoch)
            n_tokens += nll.numel()
            if len(losses) == n_steps:
                break

    entries = records(tmp_path, "train")
    # Clipping divides by norm + 1e-6.
    assert [entry["loss"] for entry in entries] == pytest.approx(losses, rel=1e-4)
    assert [entry["epoch"] for entry in entries] == epochs
    assert epochs[-1] == 2
    assert entries[-1]["tokens"] == result(tmp_path)["tokens"] == n_tokens
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weights_of(tmp_path)[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (RMT, "--batch_chunk 2"),
        ([*RMT, "--bptt_unrolls", "2"], "--batch_chunk 4"),
        ([*RMT, "--bptt_unrolls", "2", "--bptt_mode", "window"], "--batch_chunk 2"),
        (TRXL, "--batch_chunk 2"),
        ([*RMT, "--bptt_unrolls", "2"], "--checkpoint_segments"),
        ([*RMT, "--bptt_unrolls", "2", "--bptt_mode", "window"], "--checkpoint_segments"),
        (TRXL, "--checkpoint_segments"),
    ],
)
def test_what_saves_memory_changes_nothing(tiny, tmp_path, flags, changes):
    flags = [*tiny, *flags, "--max_step", "8"]
    run(train.main, *flags, "--work_dir", tmp_path / "plain")
    outcome = run(train.main, *flags, *changes.split(), "--work_dir", tmp_path / "less")
    assert outcome.status == 0, outcome.err
    plain, less = (
        [e["loss"] for e in records(tmp_path / name, "train")] for name in ("plain", "less")
    )
    assert less == pytest.approx(plain, rel=1e-9)
    plain, less = weights_of(tmp_path / "plain"), weights_of(tmp_path / "less")
    for name in plain:
        torch.testing.assert_close(less[name], plain[name], rtol=1e-8, atol=1e-10)


def test_a_log_line_is_the_mean_of_its_interval(tiny, tmp_path):
    """Per token: the last segment of an epoch is shorter."""
    flags = [*tiny, *RMT, "--max_step", 68, "--eval_interval", 17]
    run(train.main, *flags, "--work_dir", tmp_path / "each")
    run(train.main, *flags, "--work_dir", tmp_path / "some", "--log_interval", 34)
    each, some = (records(tmp_path / name, "train") for name in ("each", "some"))
    assert [entry["step"] for entry in some] == [34, 68]
    counts = [b["tokens"] - a["tokens"] for a, b in zip([{"tokens": 0}, *each], each, strict=False)]
    assert len({*counts}) == 2
    for i, entry in enumerate(some):
        part = slice(34 * i, 34 * i + 34)
        total = sum(e["loss"] * n for e, n in zip(each[part], counts[part], strict=True))
        assert entry["loss"] == pytest.approx(total / sum(counts[part]), rel=1e-12)
        assert entry["tokens"] == each[34 * i + 33]["tokens"]


def test_evaluations_fall_where_they_should(tiny, tmp_path):
    flags = [*tiny, *RMT, *"--max_step 7 --eval_interval 3 --save_interval 2".split()]
    run(train.main, *flags, "--work_dir", tmp_path)
    assert [entry["step"] for entry in records(tmp_path, "valid")] == [3, 6, 7]
    assert [entry["step"] for entry in records(tmp_path, "test")] == [7]
    losses = {entry["step"]: entry["loss"] for entry in records(tmp_path, "valid")}
    assert result(tmp_path)["best_step"] == min(losses, key=losses.get)
    assert result(tmp_path)["valid_loss"] == min(losses.values())
    assert checkpoint.find_best(tmp_path).step == min(losses, key=losses.get)


def test_debug_keeps_nothing(tiny, tmp_path):
    outcome = run(train.main, *tiny, *RMT, "--debug", "--work_dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert "End of training" in outcome.out
    assert not (tmp_path / "run").exists()


# Losses that are not finite


@pytest.fixture
def bad_losses(monkeypatch):
    """Multiply the losses of some training forwards, counted from 1, by a number such as nan."""

    def bad_losses(which, number: float) -> list[int]:
        real, calls = MemTransformerLM.forward, []

        def forward(model, *inputs):
            nll, state = real(model, *inputs)
            if not model.training:
                return nll, state
            calls.append(1)
            return (nll * number if len(calls) in which else nll), state

        monkeypatch.setattr(MemTransformerLM, "forward", forward)
        return calls

    return bad_losses


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_the_run_ends_after_some_steps_in_a_row(tiny, tmp_path, bad_losses, number):
    bad_losses(range(5, 99), number)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--max_step", 30, "--save_interval", 2]
    outcome = run(train.main, *flags, "--max_nonfinite", 3)
    sentence = assert_one_sentence(outcome)
    assert sentence.startswith("the loss was not finite for 3 steps in a row, up to step 7: lower")
    # Saved at step 6, after two of the three; the weights are still those of step 4.
    assert steps_saved(tmp_path) == [4, 6]
    found = checkpoint.find(tmp_path)
    assert found.load_training()["place"]["nonfinite_in_a_row"] == 2
    early = weights_of(tmp_path / "checkpoints", "step-00000004")
    late = weights_of(tmp_path / "checkpoints", "step-00000006")
    assert all(torch.equal(early[name], late[name]) for name in early | late)
    assert not (tmp_path / "result.json").exists()


def test_after_a_restart_the_count_goes_on(tiny, tmp_path, bad_losses):
    bad_losses(range(5, 99), math.nan)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--max_step", 30, "--save_interval", 2]
    run(train.main, *flags, "--max_nonfinite", 3)
    outcome = run(train.main, *flags, "--max_nonfinite", 3, "--restart")
    assert "3 steps in a row, up to step 7" in assert_one_sentence(outcome)


def test_what_is_counted_and_timed_goes_on_after_a_restart(tiny, tmp_path, bad_losses, monkeypatch):
    """By a clock that goes on by a second whenever it is read, so that every step takes one."""
    ticks = itertools.count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    bad_losses({3}, math.nan)
    flags = [*tiny, *RMT, *"--scheduler constant --log_interval 4".split(), "--work_dir", tmp_path]
    assert run(train.main, *flags, "--max_step", 6).status == 0
    assert run(train.main, *flags, "--max_step", 8, "--restart").status == 0
    entries = records(tmp_path, "train")
    assert [entry["seconds"] for entry in entries] == [4, 8]
    assert [entry["tokens_per_s"] for entry in entries] == [32, 32]  # 4 streams of 8
    assert [entry["n_nonfinite"] for entry in entries] == [1, 1]
    assert result(tmp_path)["n_nonfinite"] == 1
    lines = [x for x in (tmp_path / "log.txt").read_text().splitlines() if "ms/batch" in x]
    assert len(lines) == 2
    assert all("ms/batch 1000.00" in line for line in lines)


def test_single_bad_steps_are_left_out_and_counted(tiny, tmp_path, bad_losses, monkeypatch):
    calls = bad_losses({3, 5}, math.nan)
    unchanged, real = [], Trainer.train_step

    def train_step(trainer, progress):
        before = [parameter.clone() for parameter in trainer.model.parameters()]
        real(trainer, progress)
        after = trainer.model.parameters()
        unchanged.append(all(torch.equal(*pair) for pair in zip(before, after, strict=True)))

    monkeypatch.setattr(Trainer, "train_step", train_step)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--max_step", 7, "--max_nonfinite", 2]
    outcome = run(train.main, *flags, "--scheduler", "constant")
    assert outcome.status == 0, outcome.err
    assert len(calls) == 7
    assert unchanged == [False, False, True, False, True, False, False]
    assert result(tmp_path)["n_nonfinite"] == 2
    losses = [entry["loss"] for entry in records(tmp_path, "train")]
    assert [math.isnan(loss) for loss in losses] == unchanged, "only their own log line says so"
    assert [entry["n_nonfinite"] for entry in records(tmp_path, "train")] == [0, 0, 1, 1, 2, 2, 2]


def test_a_bad_step_does_not_spoil_the_mean_of_its_interval(tiny, tmp_path, bad_losses):
    bad_losses({3}, math.nan)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--log_interval", 4]
    assert run(train.main, *flags).status == 0
    (entry,) = records(tmp_path, "train")
    assert 1 < entry["loss"] < 5


def test_bad_gradients_of_a_finite_loss(tiny, tmp_path, monkeypatch):
    real, calls = torch.nn.utils.get_total_norm, []

    def total_norm(gradients, *args):
        calls.append(1)
        if len(calls) == 2:
            gradients[0][0] = math.inf
        return real(gradients, *args)

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", total_norm)
    assert run(train.main, *tiny, *RMT, "--work_dir", tmp_path).status == 0
    assert result(tmp_path)["n_nonfinite"] == 1
    assert all(weight.isfinite().all() for weight in weights_of(tmp_path).values())


@pytest.mark.parametrize("first", [math.nan, 0.0])
def test_a_validation_loss_that_is_no_number_is_never_the_best(first, tiny, tmp_path, monkeypatch):
    """Nor does it stay the best where it came first."""
    real = Trainer.score

    def score(trainer, split, *args):
        scores = real(trainer, split, *args)
        bad = split == "valid" and (trainer.place.step == 2) == math.isnan(first)
        return scores | ({"loss": math.nan} if bad else {})

    monkeypatch.setattr(Trainer, "score", score)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--eval_interval", 2, "--max_step", 6]
    assert run(train.main, *flags).status == 0
    assert (result(tmp_path)["best_step"] == 2) == (first == 0)


@pytest.mark.parametrize("clip", [1e9, 1e-3])
def test_the_norm_of_the_gradient_is_limited(clip, tiny, tmp_path, monkeypatch):
    """As clip_grad_norm_ does; below the limit nothing is touched."""
    limited, real = [], Step.update

    def update(step, loss):
        weights = [weight for weight in step.model.parameters() if weight.grad is not None]
        twins = [torch.zeros_like(weight) for weight in weights]
        for twin, weight in zip(twins, weights, strict=True):
            twin.grad = weight.grad.clone()
        limited.append(torch.nn.utils.clip_grad_norm_(twins, clip).item() > clip)
        left_out = real(step, loss)
        assert not left_out
        for twin, weight in zip(twins, weights, strict=True):
            assert torch.equal(twin.grad, weight.grad)
        return left_out

    monkeypatch.setattr(Step, "update", update)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--max_step", 2, "--clip", clip]
    assert run(train.main, *flags).status == 0
    assert limited == [clip < 1] * 2


def test_a_bad_step_starts_new_streams(tiny, tmp_path, bad_losses, monkeypatch):
    """The state may be bad too, so it is not carried on."""
    bad_losses({3}, math.nan)
    starts, real = [], Stream.step

    def step(stream, *inputs):
        starts.append(not stream.tensors())
        return real(stream, *inputs)

    monkeypatch.setattr(Stream, "step", step)
    flags = [*tiny, *RMT, "--bptt_unrolls", 1, "--work_dir", tmp_path, "--max_step", 5]
    assert run(train.main, *flags).status == 0
    assert starts == [True, False, False, True, False]
