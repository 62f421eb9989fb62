"""A run on a task, scored on samples of another size: rmt.eval --work_dir RUN --pairs N."""

import json

import numpy as np
import pytest

import rmt
from helpers.data import load_task
from helpers.programs import assert_one_sentence, result, run
from rmt import eval as evaluation
from rmt import train
from rmt.evaluation.tasks import evaluate_task

SIZES = {"train_samples": 40, "valid_samples": 6, "test_samples": 30}
TINY = "--n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 8 --max_step 2 --batch_size 4"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on remember with three pairs, and where its samples are kept."""
    place = tmp_path_factory.mktemp("samples")
    flags = [word for name, n in SIZES.items() for word in (f"--{name}", n)]
    flags += ["--dataset", "remember", "--pairs", 3, "--model", "rmt", "--mem_len", 2]
    flags += ["--encoded_dir", place / "encoded", "--work_dir", place / "run"]
    outcome = run(train.main, *TINY.split(), *flags)
    assert outcome.status == 0, outcome.err
    return place


def scored(place, tmp_path, *flags) -> dict:
    kept = ["--encoded_dir", place / "encoded", "--json", tmp_path / "scores.json"]
    outcome = run(evaluation.main, "--work_dir", place / "run", *kept, *flags)
    assert outcome.status == 0, outcome.err
    return json.loads((tmp_path / "scores.json").read_text())


def test_without_flags_the_samples_are_those_of_training(trained, tmp_path):
    found = scored(trained, tmp_path, "--split", "test")
    expected = result(trained / "run")
    assert found["samples"]["pairs"] == 3
    assert found["scores"][0]["loss"] == pytest.approx(expected["test_loss"], rel=1e-6)


def test_other_samples_are_scored_in_segments_as_long(trained, tmp_path):
    found = scored(trained, tmp_path, "--split", "test", "--pairs", 9, "--test_samples", 20)
    assert (found["samples"]["pairs"], found["protocol"]["tgt_len"]) == (9, 5)
    (scores,) = found["scores"]
    assert scores["n_samples"] == 20

    sizes = SIZES | {"pairs": 9, "test_samples": 20, "train_samples": 1}
    data = load_task("remember", trained / "encoded", **sizes)
    assert np.shape(data.splits["test"]) == (20, 50)
    model = rmt.load(trained / "run")
    expected = evaluate_task(model, data.task, data.splits["test"], 5, 20)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-5), name


def test_options_of_other_tasks_and_of_text(trained):
    for flags, message in (
        (["--n", 3], "n means nothing to dataset remember: leave it out"),
        (["--pairs", 300], "only 256 different keys"),
        (["--pairs", 3, "--text", "-"], "pairs is for runs on tasks: leave it out with --text"),
    ):
        refused = run(evaluation.main, "--work_dir", trained / "run", *flags)
        assert message in assert_one_sentence(refused)
