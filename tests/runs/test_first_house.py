"""Runs that the code wrote before its files were moved still load, and go on as they would have."""

import shutil

import pytest
import safetensors.torch
import torch

from helpers.programs import SAMPLES, run, weights_of
from rmt import eval as evaluation
from rmt import train
from rmt.runs.trained import load

COMMON = (
    "--n_layer 2 --n_head 2 --d_head 4 --d_model 8 --d_inner 16 --batch_size 4 --eval_batch_size 2 "
    "--lr 0.01 --log_interval 1 --dropout 0.1 --seed 7 --scheduler constant"
).split()
RUNS = {
    "words-trxl_rmt": [
        *("--dataset wt103 --tgt_len 8 --model trxl_rmt --mem_len 2 --cache_len 5".split()),
        *("--bptt_unrolls", "1", "--data", SAMPLES / "words"),
    ],
    "reverse-rmt": (
        "--dataset reverse --n 6 --segments 3 --train_samples 200 --valid_samples 20 "
        "--test_samples 20 --curriculum 2 --model rmt --mem_len 2"
    ).split(),
}


@pytest.fixture(params=RUNS)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tmp_path):
    """A copy, whose checkpoint is of step 3."""
    return shutil.copytree(SAMPLES / "first_house" / name, tmp_path / "run", symlinks=True)


def test_an_old_run_goes_on(name, folder, encoded_dir):
    flags = [*RUNS[name], *COMMON, "--encoded_dir", encoded_dir, "--work_dir", folder]
    outcome = run(train.main, *flags, "--max_step", 6, "--restart")
    assert outcome.status == 0, outcome.err
    expected = safetensors.torch.load_file(folder / "after-step-6.safetensors")
    found = weights_of(folder)
    assert found.keys() == expected.keys()
    for weight, values in expected.items():
        # Bit for bit on the machine that wrote it; other ones multiply in another order.
        torch.testing.assert_close(found[weight], values, rtol=1e-4, atol=1e-6)


def test_an_old_run_is_scored_and_loaded(folder, encoded_dir):
    outcome = run(evaluation.main, "--work_dir", folder, "--encoded_dir", encoded_dir)
    assert outcome.status == 0, outcome.err
    last = (folder / "log.txt").read_text().splitlines()[-2].removeprefix("| End of training | ")
    assert last in outcome.out
    model = load(folder)
    assert not model.training
    assert model.vocabulary is None, "it was not kept then"
