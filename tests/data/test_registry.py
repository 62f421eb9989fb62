"""A dataset and a task that a file each adds are like any other."""

import json
import pickle
from unittest.mock import patch

import pytest

from helpers import alphabet, parity
from helpers.programs import assert_one_sentence, result, run
from rmt import eval as evaluation
from rmt import figures, tables, train
from rmt.data import registry
from rmt.data.tasks.__main__ import main as show
from rmt.runtime.errors import UsageError

MODEL = "--model rmt --mem_len 2 --n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 8".split()
SHORT = "--batch_size 4 --eval_batch_size 2 --max_step 4 --log_interval 1".split()
SAMPLES = "--train_samples 100 --valid_samples 20 --test_samples 20 --bits 9".split()


@pytest.fixture(autouse=True)
def added():
    """Both, until a test ends: those of other files are of what the package brings."""
    with patch.dict(registry.datasets()):
        registry.register(alphabet.ALPHABET)
        registry.register(parity.PARITY)
        yield


@pytest.fixture
def flags(tmp_path):
    return [*MODEL, *SHORT, "--encoded_dir", str(tmp_path / "encoded")]


def test_both_are_in_the_registry():
    assert registry.find("alphabet").read is alphabet.read
    assert registry.find("parity").options is parity.ParityOptions
    assert "parity" in registry.tasks()
    assert "alphabet" not in registry.tasks()


def test_each_can_be_sent_to_a_process():
    for name, dataset in registry.datasets().items():
        assert pickle.loads(pickle.dumps(dataset)).name == name


def test_an_added_text_is_trained_scored_and_shown(flags, tmp_path):
    folder = tmp_path / "run"
    flags = [*flags, "--dataset", "alphabet", "--tgt_len", "8", "--work_dir", str(folder)]
    assert run(train.main, *flags).status == 0
    assert result(folder)["n_token"] == 26
    scored = run(evaluation.main, "--work_dir", folder).out
    assert f"bpc {result(folder)['test_bpc']:9.5f}" in scored
    assert f"| {result(folder)['test_bpc']:.3f} |" in run(tables.main, "runs", folder).out
    assert run(figures.main, "curves", folder, "--out", tmp_path / "curves.png").status == 0
    sentence = assert_one_sentence(run(train.main, *flags[:-2], "--data", "x", "--debug"))
    assert sentence == "the dataset alphabet brings its text: leave out --data x"


def test_an_added_task_is_trained_scored_and_shown(flags, tmp_path):
    folder = tmp_path / "run"
    flags += [*SAMPLES, "--dataset", "parity", "--segments", "2", "--work_dir", str(folder)]
    assert run(train.main, *flags).status == 0
    assert json.loads((folder / "config.json").read_text())["task"]["bits"] == 9
    assert run(evaluation.main, "--work_dir", folder, "--split", "test").status == 0
    table = run(tables.main, "tasks", folder).out
    assert "| parity of 9 bits | rmt | 2 of 5 | 2 |" in table
    assert run(figures.main, "accuracy", folder, "--out", tmp_path / "accuracy.png").status == 0
    lines = run(show, "show", "parity", "--bits", 4, "--samples", 1).out.splitlines()
    assert lines[2] == "loss    . . . . ^"
    said = assert_one_sentence(run(train.main, *flags[:-2], "--debug", "--curriculum", 1))
    assert said == "samples of parity can't be shortened: leave out the curriculum"


def test_a_name_that_nothing_has():
    with pytest.raises(UsageError, match=r"dataset must be one of wt103, .*, not 'lines'"):
        registry.find("lines")
