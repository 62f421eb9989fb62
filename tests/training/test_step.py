"""The step in its forms: as on a CPU, as on a GPU whose results come late, and captured.

That it is the step of a loop written out is shown in test_trainer.py.
"""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.captured import CalledAgain, captured_step_for
from helpers.gpu import late_step_for
from helpers.programs import (
    ARMT,
    RMT,
    TRXL,
    Stopped,
    assert_one_sentence,
    killed_before_step,
    records,
    result,
    run,
    steps_saved,
    weights_of,
)
from helpers.schedules import layer_local
from rmt import train
from rmt.data.batches import Update
from rmt.models.registry import build
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.settings import Settings
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.training import captured, trainer
from rmt.training.captured import N_ALIKE, CapturedStep, why_not
from rmt.training.recurrence import Stream
from rmt.training.step import LATE, Step
from rmt.training.trainer import Trainer

REPLAY = [*RMT, "--bptt_unrolls", "2"]
# 10 streams of about 200 tokens make an epoch of 26 segments, the last of which is shorter.
SHORT_EPOCHS = "--batch_size 10 --max_step 60 --save_interval 7 --dropout 0.1".split()
TASK = ["--data", "", *"--train_samples 60 --valid_samples 10 --test_samples 10".split()]
TASK += [*RMT, *"--dataset reverse --n 6 --tgt_len 5 --bptt_unrolls -1".split()]
CLIPPED = ["--clip", "0.05"]
VARIANTS = {
    "baseline": ["--model", "baseline"],
    "mt": ["--model", "mt", "--mem_len", "2"],
    "trxl": TRXL,
    "rmt": RMT,
    "rmt, replay": [*REPLAY, *CLIPPED],
    "rmt, window": [*REPLAY, "--bptt_mode", "window"],
    "rmt, from the newest memory": [*REPLAY, "--replay_from", "newest"],
    "trxl_rmt, replay": "--model trxl_rmt --mem_len 2 --cache_len 5 --bptt_unrolls 2".split(),
    "armt, replay": [*ARMT, "--bptt_unrolls", "2"],
    "armt, delta rule": [*ARMT, *"--bptt_unrolls 1 --memory_update delta".split()],
    "chunks": [*REPLAY, "--batch_chunk", "2"],
    "adaptive softmax": [*REPLAY, "--cutoffs", "10", "30"],
    "adaptive softmax, window": [*REPLAY, *"--bptt_mode window --cutoffs 10 30".split()],
    "bf16": [*RMT, "--precision", "bf16"],
    "sgd": [*REPLAY, *"--optim sgd --lr 0.5".split()],
    "momentum": [*REPLAY, *"--optim sgd --mom 0.9".split()],
    "adagrad": [*REPLAY, "--optim", "adagrad"],
    "varlen": [*REPLAY, "--varlen"],
    "dev_perf": [*TRXL, *"--scheduler dev_perf --lr 1 --decay_rate 0.9 --eval_interval 9".split()],
    "curriculum": [*RMT, *"--curriculum_segments 1 2 4 --curriculum_steps 15 20".split()],
    "task": TASK,
    "task, replay": [*TASK, *"--bptt_unrolls 1 --batch_chunk 2".split()],
    "task, lessons": [*TASK, *"--curriculum 2".split()],
}


@pytest.fixture
def trained(tiny, tmp_path, monkeypatch):
    """Run rmt.train with a kind of step; returns the run folder."""

    def trained(step_for, *flags, name: str = "run", restart: bool = False):
        with monkeypatch.context() as patched:
            if step_for is not None:
                patched.setattr(trainer, "step_for", step_for)
            folder = tmp_path / name
            again = ["--restart"] if restart else []
            outcome = run(train.main, *tiny, *flags, *again, "--work_dir", folder)
        assert outcome.status == 0, outcome.err
        return folder

    return trained


def assert_same_training(one, other, tolerance: float = 0.0) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=tolerance)
    mine, theirs = ([e["loss"] for e in records(folder, "train")] for folder in (one, other))
    assert len(mine) == len(theirs) > 0
    assert mine == pytest.approx(theirs, rel=tolerance, abs=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_late_and_captured_steps_are_those_of_a_cpu(trained, variant):
    """With dropout, over ends of epochs and of streams, evaluations and saves between."""
    flags, graphs = [*SHORT_EPOCHS, *VARIANTS[variant]], CalledAgain()
    plain = trained(None, *flags, name="plain")
    late = trained(late_step_for, *flags, name="late")
    captured = trained(captured_step_for(graphs), *flags, name="captured")
    # Products of more rows, of which some are zero, may be rounded otherwise.
    tolerance = 1e-6 if "adaptive" in variant else 0.0
    # Lessons may begin later where losses are heard of later.
    if variant != "task, lessons":
        assert_same_training(plain, late, tolerance)
    assert_same_training(late, captured, tolerance)
    if variant == "varlen":
        return
    assert graphs.n_replays >= 20
    assert graphs.n_records < graphs.n_replays / 5


@pytest.mark.parametrize(
    "variant", ["rmt, replay", "trxl", "armt, replay", "momentum", "task, lessons"]
)
def test_a_captured_run_goes_on_after_a_restart(trained, variant):
    """Killed between two saves, and while some steps' results were not heard of yet."""
    flags = [*SHORT_EPOCHS, *VARIANTS[variant]]
    whole = trained(captured_step_for(CalledAgain()), *flags, name="whole")
    with killed_before_step(40):
        trained(captured_step_for(CalledAgain()), *flags, name="stopped")
    stopped = trained(captured_step_for(CalledAgain()), *flags, name="stopped", restart=True)
    assert_same_training(whole, stopped)


def test_a_batch_that_needs_more_rooms_is_recorded_anew():
    """Of 40 targets, none is beyond the cutoff, then all are, then some; losses are the same."""
    sizes = {"n_layer": 2, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 16, "mem_len": 2}
    options = {"model": "rmt", "batch_size": 4, "tgt_len": 10, "adaptive": True}
    settings = Settings.of(options | sizes)
    cpu, found, graphs = torch.device("cpu"), [], CalledAgain()
    for form in (Step, CapturedStep):
        torch.manual_seed(0)
        model = build(settings.model(30, cutoffs=(10,)))
        extra = {"graphs": graphs} if form is CapturedStep else {}
        step = form(model, settings.train, (0, "replay", "stored"), cpu, **extra)
        losses = []
        for i in range(30):
            low, high = ((0, 10), (10, 30), (0, 30))[i // 10]
            ids = torch.randint(low, high, (2, 4, 10), generator=torch.manual_seed(i))
            losses.append(step(Update([(ids[0], ids[1])], 40, False))[0].item())
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert graphs.n_records == 2
    assert graphs.n_replays == 30 - 1 - N_ALIKE, "the first step starts the streams"


# Steps that are left out

HOW = {"late": lambda: late_step_for, "captured": lambda: captured_step_for(CalledAgain())}


@pytest.fixture(params=HOW)
def not_on_a_cpu(request):
    """What makes a step whose results come late."""
    return HOW[request.param]()


@pytest.fixture
def bad_tokens(monkeypatch):
    """Losses of some segments, told by their tokens, are no numbers in training."""

    def bad_tokens(is_bad) -> None:
        real = MemTransformerLM.forward

        def forward(model, tokens, *inputs):
            nll, state = real(model, tokens, *inputs)
            bad = model.training and is_bad(tokens)
            return (nll * math.nan if bad else nll), state

        monkeypatch.setattr(MemTransformerLM, "forward", forward)

    return bad_tokens


@pytest.fixture
def starts(monkeypatch):
    """What every training step's streams start from."""
    starts, real = [], Stream.step

    def step(stream, *inputs):
        starts.append({name: tensor.clone() for name, tensor in stream.tensors().items()})
        return real(stream, *inputs)

    monkeypatch.setattr(Stream, "step", step)
    return starts


def test_after_a_step_that_is_left_out_some_start_where_it_did(
    trained, not_on_a_cpu, bad_tokens, starts, monkeypatch
):
    weights, real = [], Trainer.train_step

    def train_step(trainer, progress):
        real(trainer, progress)
        weights.append([parameter.clone() for parameter in trainer.model.parameters()])

    monkeypatch.setattr(Trainer, "train_step", train_step)
    count = iter(range(1, 99))
    bad_tokens(lambda _: next(count) == 9)
    folder = trained(not_on_a_cpu, *RMT, *"--bptt_unrolls 1 --max_step 14".split())
    same = [all(map(torch.equal, *pair)) for pair in itertools.pairwise(weights)]
    assert [i + 2 for i, unchanged in enumerate(same) if unchanged] == [9]
    at_9, at_10, at_11, at_12 = starts[8:12]
    assert LATE == 2
    assert at_9.keys() == at_10.keys() == at_11.keys() == {"state.memory", "history.0"}
    assert all(torch.equal(at_9[name], at_10[name]) for name in at_9)
    assert not torch.equal(at_10["history.0"], at_11["history.0"])
    assert at_12 == {}, "new streams"
    assert result(folder)["n_nonfinite"] == 1
    losses = [entry["loss"] for entry in records(folder, "train")]
    assert [i + 1 for i, loss in enumerate(losses) if math.isnan(loss)] == [9]


def test_too_many_in_a_row_end_the_run_some_steps_later(
    tiny, tmp_path, not_on_a_cpu, bad_tokens, monkeypatch
):
    count = iter(range(1, 99))
    bad_tokens(lambda _: next(count) >= 5)
    monkeypatch.setattr(trainer, "step_for", not_on_a_cpu)
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--max_step", 30, "--save_interval", 4]
    sentence = assert_one_sentence(run(train.main, *flags, "--max_nonfinite", 3))
    assert sentence.startswith("the loss was not finite for 3 steps in a row, up to step 7: lower")
    assert steps_saved(tmp_path)[-1] == 8
    assert checkpoint.find(tmp_path).load_training()["place"]["nonfinite_in_a_row"] == 2
    saved = tmp_path / "checkpoints"
    early, late = weights_of(saved, "step-00000004"), weights_of(saved, "step-00000008")
    assert all(torch.equal(early[name], late[name]) for name in early)


def test_they_are_counted_also_at_the_very_end(trained, not_on_a_cpu, bad_tokens):
    count = iter(range(1, 99))
    bad_tokens(lambda _: next(count) in (5, 8))
    folder = trained(not_on_a_cpu, *RMT, "--max_step", 8)
    assert result(folder)["n_nonfinite"] == 2


@pytest.mark.parametrize("stop", [10, 11, 12, 13])
def test_a_restart_before_they_are_heard_of_changes_nothing(
    trained, not_on_a_cpu, bad_tokens, monkeypatch, stop
):
    """In these runs the steps 10 and 11 are left out."""
    flags = [*REPLAY, *"--max_step 16 --save_interval 1 --dropout 0.1".split()]
    seen, real = [], Trainer.train_step

    def train_step(trainer, progress):
        if trainer.place.step == stop and not seen:
            seen.append(stop)
            raise Stopped
        bad.append(trainer.place.step in (9, 10))
        real(trainer, progress)

    bad = []
    bad_tokens(lambda _: bad[-1])
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", train_step)
        with pytest.raises(Stopped):
            trained(not_on_a_cpu, *flags, name="stopped")
        stopped = trained(not_on_a_cpu, *flags, name="stopped", restart=True)
        whole = trained(not_on_a_cpu, *flags, name="whole")
    mine, theirs = weights_of(whole), weights_of(stopped)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert result(whole)["n_nonfinite"] == result(stopped)["n_nonfinite"] == 2


def test_a_run_may_go_on_where_results_come_at_once(trained, bad_tokens, monkeypatch):
    """What was not heard of when it was saved is heard of in the first step."""
    flags = [*RMT, *"--max_step 16 --save_interval 11 --scheduler constant".split()]
    bad, real = [], Trainer.train_step

    def train_step(trainer, progress):
        if trainer.place.step == 11 and len(bad) < 12:
            bad.append(False)
            raise Stopped
        bad.append(trainer.place.step in (9, 10))
        real(trainer, progress)
        heard.append((trainer.place.step, trainer.place.n_nonfinite))

    heard = []
    bad_tokens(lambda _: bad[-1])
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", train_step)
        with pytest.raises(Stopped):
            trained(late_step_for, *flags)
        trained(None, *flags, restart=True)
    assert heard[10:12] == [(11, 0), (12, 2)]


# What a step may not do on a GPU


class NoLooking(TorchDispatchMode):
    """Fails where the host would have to wait for a GPU: for a number, or for a shape."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")
        assert function.overloadpacket.__name__ not in waits, function
        return function(*args, **(kwargs or {}))


def step_of(optim: str, looks_at_once: bool, **model) -> tuple[Step, list]:
    sizes = {"n_layer": 2, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 16, "mem_len": 2}
    options = {"model": "rmt", **model, "dropout": 0.1, "bptt_unrolls": 1, "optim": optim, **sizes}
    settings = Settings.of({**options, "batch_size": 4, "tgt_len": 5})
    model = build(settings.model(20))
    cpu = torch.device("cpu")
    step = Step(model, settings.train, (1, "replay", "stored"), cpu, looks_at_once=looks_at_once)
    ids = torch.randint(20, (3, 2, 4, 5))
    return step, [[(tokens, targets)] for tokens, targets in ids]


@pytest.mark.parametrize(
    ("optim", "model"),
    [
        ("adam", {}),
        ("sgd", {}),
        ("adam", {"model": "armt", "d_mem": 4}),
        ("adam", {"model": "armt", "d_mem": 4, "memory_update": "delta"}),
    ],
)
def test_a_step_whose_results_come_late_asks_the_device_nothing(optim, model):
    step, updates = step_of(optim, looks_at_once=False, **model)
    with NoLooking():
        for segments in updates:
            step.run(segments, 20, ())


def test_the_test_above_can_fail():
    step, updates = step_of("adam", looks_at_once=True)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoLooking():
        step.run(updates[0], 20, None)


# Which step a run has

GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"precision": "bf16", "optim": "sgd"}, None),
        ({"max_step": 900}, "900 steps are too few to be worth it (--cuda_graph on)"),
        ({"max_step": 900, "cuda_graph": "on"}, None),
        ({"cuda_graph": TrainConfig().cuda_graph}, "it is off"),
        ({"varlen": True}, "varlen is True"),
        ({"checkpoint_segments": True}, "checkpoint_segments is True"),
        ({"precision": "fp16"}, "precision is fp16"),
        ({"optim": "adagrad"}, "optim is adagrad"),
    ],
)
def test_steps_are_captured_where_they_can_be_and_it_is_worth_it(options, reason):
    config = TrainConfig(**{"cuda": True, "cuda_graph": "auto", **options})
    assert why_not(config, GPU) == reason


def test_several_processes_are_not_captured(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    config = TrainConfig(cuda=True, cuda_graph="auto")
    assert why_not(config, GPU) == "several processes exchange gradients"


@pytest.mark.parametrize(
    ("schedule", "options", "n_compiled", "sentence"),
    [
        ("sequential", {}, 1, ""),
        ("sequential", {"compile": True}, 0, ""),  # by then they are
        ("sequential", {}, "no compiler", "layers are not compiled: no compiler\n"),
        ("diagonal", {}, 0, "layers are not compiled: they are computed diagonally\n"),
    ],
)
def test_layers_of_captured_steps_are_compiled_or_it_is_said_why_not(
    monkeypatch, capsys, schedule, options, n_compiled, sentence
):
    """Without a GPU: by the choice that is made on one."""
    compiled, model = [], layer_local("armt")
    model.set_schedule(schedule)

    def compile_layers(model):
        if n_compiled == "no compiler":
            raise UsageError(n_compiled)
        compiled.append(model)

    monkeypatch.setattr(MemTransformerLM, "compile", compile_layers)
    monkeypatch.setattr(captured, "why_not", lambda config, device: None)
    monkeypatch.setattr(captured, "CudaGraphs", lambda device: CalledAgain())
    config = TrainConfig(**options)
    step = captured.step_for(model, config, (1, "window", "stored"), torch.device("cpu"))
    assert isinstance(step, CapturedStep)
    assert len(compiled) == (n_compiled == 1)
    said = capsys.readouterr().err
    assert said == (f"steps are captured, but {sentence}" if sentence else "")


def test_a_graph_without_a_gpu_is_refused(tiny, tmp_path):
    flags = [*tiny, *RMT, "--work_dir", tmp_path / "run", "--cuda_graph", "on"]
    sentence = assert_one_sentence(run(train.main, *flags))
    assert sentence == "--cuda_graph on is not possible: graphs are made on a GPU (--cuda)"
    assert not (tmp_path / "run").exists()
