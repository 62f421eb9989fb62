"""Training on a GPU: with a graph, without, and on the CPU it is the same.

In float64, so that sums in another order stay close over the steps. Layers are compiled in one test
alone, for that takes long; a compiled layer draws other random numbers.
"""

import math
import subprocess

import pytest
import torch

from helpers import gpu
from helpers.programs import (
    ARMT,
    RMT,
    TRXL,
    command,
    killed_before_step,
    process_settings,
    records,
    result,
    run,
    weights_of,
)
from rmt import train
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM

pytestmark = pytest.mark.cuda

REPLAY = [*RMT, "--bptt_unrolls", "2"]
# 10 streams of about 200 tokens make an epoch of 26 segments, the last of which is shorter: so two
# epochs end in a run, and streams start three times.
SHORT_EPOCHS = "--batch_size 10 --max_step 60 --save_interval 7".split()
TASK = ["--data", "", *"--train_samples 60 --valid_samples 10 --test_samples 10".split()]
TASK += [*RMT, *"--dataset reverse --n 6 --tgt_len 5 --bptt_unrolls -1".split()]
VARIANTS = {
    "baseline": ["--model", "baseline"],
    "mt": ["--model", "mt", "--mem_len", "2"],
    "trxl": TRXL,
    "rmt, replay": [*REPLAY, "--clip", "0.05"],
    "rmt, window": [*REPLAY, "--bptt_mode", "window"],
    "trxl_rmt": "--model trxl_rmt --mem_len 2 --cache_len 5 --bptt_unrolls 2".split(),
    "armt": [*ARMT, "--bptt_unrolls", "2"],
    "armt, delta rule": [*ARMT, *"--bptt_unrolls 2 --memory_update delta".split()],
    "armt, diagonal": [*ARMT, *"--bptt_unrolls 2 --schedule diagonal".split()],
    "chunks": [*REPLAY, "--batch_chunk", "2"],
    "adaptive softmax": [*REPLAY, "--cutoffs", "10", "30"],
    "momentum": [*REPLAY, *"--optim sgd --mom 0.9".split()],
    "dev_perf": [*TRXL, *"--scheduler dev_perf --lr 1 --decay_rate 0.9 --eval_interval 9".split()],
    "task": TASK,
    "trxl, diagonal": [*TASK, *TRXL, "--schedule", "diagonal"],
}
NOT_CAPTURED = {
    "varlen": [*REPLAY, "--varlen"],
    "adagrad": [*REPLAY, "--optim", "adagrad"],
    "checkpoint_segments": [*REPLAY, "--checkpoint_segments"],
}


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(MemTransformerLM, "compile", lambda model: None)


@pytest.fixture
def trained(tiny, tmp_path):
    """Run rmt.train on "cpu", on a GPU step by step ("eager") or with a "graph"."""

    def trained(where: str, *flags, name: str = "", restart: bool = False):
        folder = tmp_path / (name or where)
        flags = [*tiny, *SHORT_EPOCHS, *flags, "--work_dir", folder]
        flags += ["--restart"] if restart else []
        if where == "cpu":
            outcome = run(train.main, *flags)
        else:
            with gpu.steps(where == "graph"):
                outcome = run(train.main, *flags, *gpu.flags(where == "graph"))
        assert outcome.status == 0, outcome.err
        return folder

    return trained


def losses(folder) -> list[float]:
    return [entry["loss"] for entry in records(folder, "train")]


def assert_same_training(one, other, tolerance: float) -> None:
    assert losses(one) == pytest.approx(losses(other), rel=tolerance, nan_ok=True)
    mine, theirs = weights_of(one), weights_of(other)
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=tolerance, atol=tolerance)
    assert result(one)["test_loss"] == pytest.approx(result(other)["test_loss"], rel=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_graph_without_and_on_the_cpu(trained, double_precision, uncompiled, variant):
    """From streams' starts over ends of epochs. The learning rate is fp32 on a GPU."""
    folders = [trained(where, *VARIANTS[variant]) for where in ("cpu", "eager", "graph")]
    for other in folders[1:]:
        assert_same_training(folders[0], other, 1e-4)


@pytest.mark.parametrize("variant", NOT_CAPTURED)
def test_what_is_not_captured_runs_all_the_same(trained, double_precision, variant):
    folders = [trained(where, *NOT_CAPTURED[variant]) for where in ("cpu", "eager")]
    assert_same_training(*folders, 1e-4)


@pytest.mark.parametrize("variant", ["trxl", "rmt, replay", "task"])
def test_dropout_is_the_same_with_a_graph(trained, double_precision, uncompiled, variant):
    flags = [*VARIANTS[variant], *"--dropout 0.1 --dropatt 0.1".split()]
    folders = [trained(where, *flags) for where in ("eager", "graph")]
    assert_same_training(*folders, 1e-9)
    plain = trained("graph", *VARIANTS[variant], name="without")
    assert losses(plain) != losses(folders[0]), "dropout does something"


def test_compiled_layers_are_the_same_with_a_graph(trained, double_precision):
    if gpu.on_stand_ins():
        pytest.skip("takes minutes on a CPU; tests/models/transformer_xl/test_compile.py has it")
    flags = [*REPLAY, "--compile", "--dropout", "0.1"]
    assert_same_training(trained("eager", *flags), trained("graph", *flags), 1e-9)


@pytest.mark.parametrize("variant", ["trxl", "rmt, replay", "task"])
def test_a_captured_run_goes_on_after_a_restart(trained, double_precision, uncompiled, variant):
    flags = [*VARIANTS[variant], "--dropout", "0.1"]
    whole = trained("graph", *flags)
    with killed_before_step(40):
        trained("graph", *flags, name="stopped")
    stopped = trained("graph", *flags, name="stopped", restart=True)
    assert_same_training(whole, stopped, 1e-9)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_steps_that_are_not_finite_are_left_out(
    trained, double_precision, uncompiled, monkeypatch, where
):
    """Which they are is told by their tokens, on the device."""
    real = MemTransformerLM.forward

    def forward(model, tokens, *inputs):
        nll, state = real(model, tokens, *inputs)
        bad = model.training * (tokens[0].sum() % 5 == 0)
        return nll * torch.where(bad, math.nan, 1.0), state

    monkeypatch.setattr(MemTransformerLM, "forward", forward)
    folder = trained(where, *RMT, *"--bptt_unrolls 1 --max_nonfinite 30".split())
    found = losses(folder)
    assert 3 <= sum(map(math.isnan, found)) == result(folder)["n_nonfinite"] <= 30
    assert all(weight.isfinite().all() for weight in weights_of(folder).values())
    finite = [loss for loss in found if math.isfinite(loss)]
    assert finite[-1] < finite[0] - 0.3


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precisions(trained, uncompiled, precision):
    """fp16 is not captured."""
    if precision == "fp16" and gpu.on_stand_ins():
        pytest.skip("fp16 needs a GPU")
    wheres = ["eager"] if precision == "fp16" else ["eager", "graph"]
    for where in wheres:
        found = losses(trained(where, *REPLAY, "--precision", precision))
        reference = losses(trained("cpu", *REPLAY, name=f"cpu {where}"))
        assert found[:10] == pytest.approx(reference[:10], rel=0.02)
        assert found[-1] < found[0] - 0.5


def test_one_process_of_several(tiny, tmp_path):
    """Over nccl: torchrun, DistributedDataParallel, and a graph is not asked for."""
    flags = [*tiny, *SHORT_EPOCHS, *REPLAY, "--work_dir", tmp_path / "run", "--multi_gpu"]
    flags += [] if gpu.on_stand_ins() else ["--cuda"]
    launched = command("rmt.launch", "--standalone", "--nproc_per_node=1", "--", *flags)
    done = subprocess.run(launched, **process_settings(), timeout=240)
    assert done.returncode == 0, done.stderr
    alone = run(train.main, *tiny, *SHORT_EPOCHS, *REPLAY, "--work_dir", tmp_path / "alone")
    assert alone.status == 0, alone.err
    assert losses(tmp_path / "run")[:20] == pytest.approx(losses(tmp_path / "alone")[:20], rel=1e-3)
