"""Runs that the code wrote before its files were moved still load, and go on as they would have."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from helpers.programs import SAMPLES, run, weights_of, write_corpus
from rmt import eval as evaluation
from rmt import train
from rmt.runs import checkpoint
from rmt.runs.settings import Settings
from rmt.runs.trained import NoVocabulary, find_vocabulary, load

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


def test_an_old_run_is_scored_and_loaded(name, folder, encoded_dir):
    outcome = run(evaluation.main, "--work_dir", folder, "--encoded_dir", encoded_dir)
    assert outcome.status == 0, outcome.err
    last = (folder / "log.txt").read_text().splitlines()[-2].removeprefix("| End of training | ")
    assert last in outcome.out
    change_training(folder, encoded_dir=str(encoded_dir))
    model = load(folder)
    assert not model.training
    assert len(model.vocabulary) == model.config.n_token, "its folder holds none: made anew"
    assert model.vocabulary.decode([1]) == [{"reverse-rmt": ">", "words-trxl_rmt": "w29"}[name]]


def test_an_old_run_without_its_text_says_so(tmp_path, encoded_dir):
    folder = shutil.copytree(
        SAMPLES / "first_house" / "words-trxl_rmt", tmp_path / "run", symlinks=True
    )
    for place, part in (
        (tmp_path / "gone", "its text can't be read (there is no wt103 data at "),
        (write_corpus(tmp_path / "other"), "is not the one that it was trained on"),
    ):
        change_training(folder, data=str(place), encoded_dir=str(encoded_dir))
        assert load(folder).vocabulary is None
        settings, options = Settings.read(folder)
        with pytest.raises(NoVocabulary) as error:
            find_vocabulary(folder, settings, checkpoint.find(folder), options.n_token)
        assert f"{folder} holds no vocabulary.json, and " in str(error.value)
        assert part in str(error.value)


def change_training(folder, **changes: object) -> None:
    """Change options of training in a run's config.json."""
    path = folder / "config.json"
    record = json.loads(path.read_text())
    record["train"] |= changes
    path.write_text(json.dumps(record))
