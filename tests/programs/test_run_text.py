"""bash run_scripts/run_text_*.sh: your own text, from one command."""

import os
import re
import subprocess
import sys

import pytest
import torch

from helpers.gru import GRUOptions
from helpers.programs import ROOT, TINY, result, run, weights_of
from rmt import train
from rmt.options.training import TrainConfig
from rmt.training.expected_time import n_segments, readable

GRU = GRUOptions(n_token=1).model
# The smallest model in place of the recipe's, so that this is quick.
SIZES = TINY[:10]


def run_script(name, *flags):
    """A script's output, after it ended well."""
    settings = {"RMT_PYTHON": sys.executable, "RMT_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", ROOT / "run_scripts" / f"run_text_{name}.sh", *map(str, flags)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_text("the cat sat on the mat, the dog on the log.\n" * (40 + i))
    return folder


@pytest.mark.parametrize("name", ["rmt", "base", "trxl"])
def test_train_goes_on_and_is_scored(texts, tmp_path, name):
    where = ["--work_dir", tmp_path / "run", "--encoded_dir", tmp_path / "encoded"]
    flags = ["--data", texts, *SIZES, *where]
    status, said = run_script(name, "train", *flags, "--max_step", 2)
    assert status == 0, said
    assert re.search(
        r"\| tokens: train 4,\d+ in 3 documents, valid \d+, test \d+, of \d+ diff", said
    )
    assert "| split: 90 %, 5 % and 5 % of the characters, in the order of the files" in said
    assert "| a token is a character; with --tokenizer word it is a word" in said
    before_it_starts = said.index("| expected: about ")
    assert before_it_starts < said.index("| Eval ")
    status, said = run_script(name, "train", *flags, "--max_step", 3, "--restart")
    assert status == 0, said
    assert "by the 2 steps so far" in said
    assert result(tmp_path / "run")["steps"] == 3
    status, said = run_script(name, "eval", "--work_dir", tmp_path / "run", "--split", "test")
    assert status == 0, said
    assert f"bpc {result(tmp_path / 'run')['test_bpc']:9.5f}" in said


def test_without_a_text_or_a_verb(tmp_path):
    status, said = run_script("rmt", "train", "--work_dir", tmp_path / "run")
    assert status == 2
    assert "error: the dataset text needs a UTF-8 file of yours: name it with --data" in said
    assert run_script("rmt", "--data", "x") == (
        2,
        f"error: say train or eval first: bash {ROOT}/run_scripts/run_text_rmt.sh train "
        "[--flag value ...]\n",
    )


@pytest.mark.parametrize("model", [["rmt", "--mem_len", "2", *SIZES], [GRU]])
def test_the_time_is_told_and_nothing_changes(texts, tmp_path, encoded_dir, model):
    """The same weights, bit for bit, also with dropout and documents."""
    flags = [*TINY[10:], "--dataset", "text", "--data", texts, "--encoded_dir", encoded_dir]
    flags += ["--model", *model, "--bptt_unrolls", "1", "--reset_at_documents"]
    flags += [] if model == [GRU] else ["--dropout", "0.1"]
    for name, also in (("told", ["--tell_time"]), ("plain", [])):
        outcome = run(train.main, *flags, *also, "--work_dir", tmp_path / name)
        assert outcome.status == 0, outcome.err
        assert ("| expected: about" in outcome.out + outcome.err) == (name == "told")
    told, plain = weights_of(tmp_path / "told"), weights_of(tmp_path / "plain")
    assert all(torch.equal(told[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ("first", "end", "expected"), [(0, 100, 330), (0, 10, 10), (5, 35, 65), (99, 100, 4), (7, 7, 0)]
)
def test_a_step_of_a_curriculum_counts_its_segments(first, end, expected):
    stages = {"curriculum_segments": (1, 2, 4), "curriculum_steps": (10, 20), "bptt_unrolls": 3}
    config = TrainConfig(**stages, max_step=100)
    assert n_segments(config, first, end) == expected
    depth_by_step = [config.unrolls_at(step) for step in range(first, end)]
    assert sum(depth + 1 for depth in depth_by_step) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7, "7 seconds"),
        (89, "89 seconds"),
        (90, "1.5 minutes"),
        (600, "10 minutes"),
        (7000, "1.9 hours"),
        (250_000, "2.9 days"),
    ],
)
def test_times_are_readable(seconds, text):
    assert readable(seconds) == text
