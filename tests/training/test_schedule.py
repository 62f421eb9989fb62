"""--schedule: the same runs and scores with layers of different segments computed together."""

import json
from collections import Counter

import pytest

from helpers.captured import CalledAgain, captured_step_for
from helpers.programs import assert_one_sentence, records, result, run, weights_of
from rmt import eval as evaluation
from rmt import train
from rmt.models.associative.armt import AssociativeMemoryLM
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.training import trainer

TINY = "--n_layer 3 --n_head 2 --d_head 4 --d_model 8 --d_inner 8 --lr 0.01 --log_interval 1"
TASK = "--dataset reverse --n 3 --segments 3 --batch_size 20 --eval_batch_size 5 --max_step 4"
SAMPLES = "--train_samples 200 --valid_samples 20 --test_samples 20"
MODELS = {"trxl": "--model trxl --mem_len 2", "armt": "--model armt --mem_len 2 --d_mem 4"}


@pytest.fixture
def task(encoded_dir):
    flags = f"{TINY} {TASK} {SAMPLES}".split()
    return [*flags, "--encoded_dir", str(encoded_dir)]


@pytest.fixture
def text(corpus_folder, encoded_dir):
    data = f"--dataset wt103 --data {corpus_folder} --encoded_dir {encoded_dir}"
    return f"{TINY} {data} --tgt_len 8 --batch_size 4 --max_step 5".split()


@pytest.fixture
def diagonally(monkeypatch):
    """How often segments were computed diagonally, by the mode that their model was in."""
    calls = Counter()

    def counted(diagonal_each):
        def call(model, segments, state):
            calls["training" if model.training else "evaluation"] += 1
            return diagonal_each(model, segments, state)

        return call

    for kind in (MemTransformerLM, AssociativeMemoryLM):
        monkeypatch.setattr(kind, "diagonal_each", counted(kind.diagonal_each))
    return calls


def train_both(flags, tmp_path, diagonally) -> None:
    """The same run by either schedule, each of which computes as it is told."""
    for schedule in ("sequential", "diagonal"):
        assert not diagonally
        outcome = run(train.main, *flags, "--schedule", schedule, "--work_dir", tmp_path / schedule)
        assert outcome.status == 0, outcome.err
    assert min(diagonally["training"], diagonally["evaluation"]) > 0


def losses_of(folder, kind: str) -> list[float]:
    return [record["loss"] for record in records(folder) if record["kind"] == kind]


def assert_same_run(folder, other) -> None:
    """But for rounding."""
    for kind in ("train", "valid", "test"):
        assert losses_of(folder, kind) == pytest.approx(losses_of(other, kind), rel=1e-4)
    mine, its = weights_of(folder), weights_of(other)
    assert all((mine[name] - its[name]).abs().max() < 1e-3 for name in its)


@pytest.mark.parametrize("model", MODELS)
def test_a_task_is_trained_and_scored_as_sequentially(task, tmp_path, diagonally, model):
    train_both([*task, *MODELS[model].split()], tmp_path, diagonally)
    assert_same_run(tmp_path / "diagonal", tmp_path / "sequential")


@pytest.mark.parametrize("mode", ["window", "replay"])
def test_so_is_text_in_windows_and_replays(text, tmp_path, diagonally, mode):
    unrolls = ["--bptt_unrolls", 2, "--bptt_mode", mode]
    train_both([*text, *MODELS["armt"].split(), *unrolls], tmp_path, diagonally)
    assert_same_run(tmp_path / "diagonal", tmp_path / "sequential")


def test_recorded_steps_find_the_same(task, tmp_path, diagonally, monkeypatch):
    """Without a GPU: what a graph would replay is called again."""
    flags = [*task, *MODELS["armt"].split(), "--max_step", 8]
    assert run(train.main, *flags, "--work_dir", tmp_path / "sequential").status == 0
    graphs = CalledAgain()
    monkeypatch.setattr(trainer, "step_for", captured_step_for(graphs))
    flags += ["--schedule", "diagonal", "--work_dir", tmp_path / "diagonal"]
    assert run(train.main, *flags).status == 0
    assert graphs.n_replays > 0
    assert diagonally["training"] > 0
    assert_same_run(tmp_path / "diagonal", tmp_path / "sequential")


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_takes_the_runs_schedule_or_another(
    text, tmp_path, corpus_folder, diagonally, model
):
    folder, told = tmp_path / "run", tmp_path / "scores.json"
    flags = [*text, *MODELS[model].split(), "--schedule", "diagonal", "--work_dir", folder]
    assert run(train.main, *flags).status == 0

    def loss(*flags) -> float:
        diagonally.clear()
        outcome = run(evaluation.main, "--work_dir", folder, *flags, "--json", told)
        assert outcome.status == 0, outcome.err
        (scores,) = json.loads(told.read_text())["scores"]
        return scores["loss"]

    for what in (["--split", "test"], ["--text", corpus_folder / "test.txt"]):
        expected = loss(*what, "--schedule", "sequential")
        assert not diagonally
        for schedule in ([], ["--schedule", "diagonal"]):
            assert loss(*what, *schedule) == pytest.approx(expected, rel=1e-3)
            assert diagonally["evaluation"] > 0
    assert loss("--split", "test") == pytest.approx(result(folder)["test_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--model rmt --mem_len 2", "the first layer of rmt needs what the last one made"),
        ("--model trxl_rmt --mem_len 2 --cache_len 2", "the first layer of trxl_rmt needs"),
        ("--model trxl --mem_len 2 --attention flex", "attention flex is for one layer at a time"),
        ("--model trxl --mem_len 2 --checkpoint_segments", "--checkpoint_segments is for segments"),
        ("--model trxl --mem_len 2 --compile", "--compile is for segments one after the other"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_writes_nothing(task, tmp_path, flags, sentence):
    folder = tmp_path / "run"
    outcome = run(train.main, *task, *flags.split(), "--schedule", "diagonal", "--work_dir", folder)
    assert sentence in assert_one_sentence(outcome)
    assert not folder.exists()


def test_evaluation_says_it_too(task, tmp_path):
    flags = [*task, "--model", "rmt", "--mem_len", 2, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    outcome = run(evaluation.main, "--work_dir", tmp_path, "--schedule", "diagonal")
    assert "schedule diagonal is not possible" in assert_one_sentence(outcome)
