"""Training on algorithmic tasks through the programs: what is trained on, resumed and scored."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.data import load_task, make_task
from helpers.programs import (
    ARMT,
    RMT,
    TINY,
    TRXL,
    assert_one_sentence,
    records,
    result,
    run,
    weights_of,
)
from rmt import eval as evaluation
from rmt import train
from rmt.data.registry import find
from rmt.data.tasks.task import TaskData
from rmt.evaluation import workloads
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options import recipes
from rmt.options.training import TrainConfig
from rmt.runs import trained as trained_runs
from rmt.training.trainer import Trainer

SIZES = {"train_samples": 60, "valid_samples": 10, "test_samples": 10}
SAMPLES = [word for name, n in SIZES.items() for word in (f"--{name}", str(n))]
# 10 inputs: two segments of 4 and one of 2. The answer begins in the second.
REVERSE = "--dataset reverse --n 5 --segments 3".split()
MODELS = {
    "baseline": ["--model", "baseline"],
    "mt": ["--model", "mt", "--mem_len", "2"],
    "trxl": TRXL,
    "rmt": RMT,
    "trxl_rmt": [*RMT, "--model", "trxl_rmt", "--cache_len", "5"],
    "armt": ARMT,
}


@pytest.fixture(scope="module")
def tiny_task(encoded_dir):
    """Flags of a run of four steps, without the task."""
    place = TINY.index("--tgt_len")
    return [*TINY[:place], *TINY[place + 2 :], *SAMPLES, "--encoded_dir", str(encoded_dir)]


@pytest.fixture(scope="module")
def trained(tiny_task, tmp_path_factory):
    """The folder of a finished run with these flags, made when first asked for."""
    known = {}

    def trained(*flags: str):
        key = flags, torch.get_default_dtype()
        if key not in known:
            known[key] = tmp_path_factory.mktemp("trained") / "run"
            outcome = run(train.main, *tiny_task, *flags, "--work_dir", known[key])
            assert outcome.status == 0, outcome.err
        return known[key]

    return trained


@pytest.fixture
def double_precision():
    """So that sums in another order give nearly the same."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def losses_of(folder) -> list[float]:
    return [entry["loss"] for entry in records(folder, "train")]


def assert_equal_weights(one, other) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


# The steps


@pytest.mark.usefixtures("double_precision")
def test_steps_are_those_of_a_loop_written_out(tiny_task, encoded_dir, tmp_path):
    """One graph over a whole sample; the mean loss of its answer alone."""
    n_steps = 20  # of 15 in an epoch
    flags = [*tiny_task, *REVERSE, *RMT, *"--scheduler constant --clip inf".split()]
    flags += ["--max_step", n_steps, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0

    samples = load_task("reverse", encoded_dir, n=5, **SIZES).splits["train"]
    sizes = {"n_layer": 2, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 16}
    torch.manual_seed(1111)
    model = MemTransformerLM(ModelConfig(n_token=10, model="rmt", mem_len=2, **sizes))
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for epoch in (1, 2):
        order = np.random.default_rng([1111, epoch]).permutation(60)
        for rows in order.reshape(15, 4)[: n_steps - len(losses)]:
            batch = torch.tensor(samples[rows].astype(int))
            state, log_probs = None, []
            for tokens in batch[:, :-1].split(4, dim=1):
                predicted, state = model.predict(tokens, state)
                log_probs.append(predicted)
            answered = torch.cat(log_probs, dim=1)[:, -5:]
            loss = F.nll_loss(answered.transpose(1, 2), batch[:, -5:])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())

    assert losses_of(tmp_path) == pytest.approx(losses, rel=1e-8)
    entries = records(tmp_path, "train")
    assert [(e["epoch"], e["position"]) for e in entries[14:16]] == [(1, 15), (2, 1)]
    assert entries[-1]["tokens"] == result(tmp_path)["tokens"] == n_steps * 4 * 10
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weights_of(tmp_path)[name], weight, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["rmt", "trxl_rmt"])
def test_how_far_gradient_flows(trained, name):
    """By default over the whole sample; --bptt_unrolls 10 reaches as far, step by step."""
    flags = [*MODELS[name], *REVERSE, "--init_std", "0.3"]
    default = trained(*flags)
    runs = {n: trained(*flags, "--bptt_unrolls", str(n)) for n in (-1, 0, 1, 10)}
    assert result(default)["bptt_unrolls"] == -1
    assert_equal_weights(default, runs[-1])
    weights = {n: weights_of(folder)["embedding.weight"] for n, folder in runs.items()}
    torch.testing.assert_close(weights[10], weights[-1], rtol=1e-7, atol=1e-9)
    for one, other in ((0, 1), (0, -1), (1, -1)):
        assert (weights[one] - weights[other]).abs().max() > 1e-4, (one, other)
    # The first step's loss is that of the same weights.
    for folder in runs.values():
        assert losses_of(folder)[0] == pytest.approx(losses_of(default)[0], rel=1e-12)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("changes", ["--batch_chunk 2", "--batch_chunk 4", "--checkpoint_segments"])
@pytest.mark.parametrize("unrolls", ["-1", "0", "1"])
def test_what_saves_memory_changes_nothing(trained, unrolls, changes):
    flags = [*MODELS["trxl_rmt"], *REVERSE, "--bptt_unrolls", unrolls, "--curriculum", "4"]
    plain, less = trained(*flags), trained(*flags, *changes.split())
    assert losses_of(less) == pytest.approx(losses_of(plain), rel=1e-9)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weights_of(less)[name], weight, rtol=1e-7, atol=1e-9)


def test_a_log_line_is_the_mean_of_its_interval(trained):
    """Per token of the answers, which are shorter in earlier lessons."""
    flags = [*RMT, *REVERSE, *"--curriculum 4 --max_step 18".split()]
    each, some = trained(*flags), trained(*flags, "--log_interval", "9")
    tokens = [0, *(entry["tokens"] for entry in records(each, "train"))]
    counts = np.diff(tokens) / 2  # half of a sample's inputs are the answer's
    assert set(counts[9:] / 4) == {4, 5}, "lessons are over, but come again"
    means = np.average(np.reshape(losses_of(each), (2, 9)), axis=1, weights=counts.reshape(2, 9))
    assert losses_of(some) == pytest.approx(means.tolist(), rel=1e-9)


def test_no_run_ends_in_its_lessons(trained):
    """The first loss, of whole samples, is never better again: --lr 0."""
    flags = [*RMT, *REVERSE, *"--lr 0 --max_step 40 --eval_interval 2 --stop_after 3".split()]
    assert result(trained(*flags))["steps"] == 8
    with_lessons = trained(*flags, "--curriculum", 1)
    lessons = [entry["lesson"] for entry in records(with_lessons, "train")]
    assert lessons[18] < max(lessons) == lessons[19], "the last one begins by half of the training"
    assert result(with_lessons)["steps"] == 26


def test_lessons_end_by_half_of_the_training():
    task = make_task("reverse", n=6)
    config = TrainConfig(dataset="reverse", tgt_len=2, curriculum=1, max_step=31)
    samples = {"train": task.generate(np.random.default_rng(0), 100)}
    data = TaskData(task, "made up", samples)
    reader = workloads.AlgorithmicTask(data, config).reader()
    for _ in range(15):
        assert reader.place["lesson"] < 2
        reader.tell_loss(2.0, reader.next(1).lesson)
    assert reader.place["lesson"] == len(reader.curriculum.lessons) - 1


LEARNER = (
    "--dataset reverse --n 3 --segments 2 --train_samples 400 --valid_samples 50 "
    "--test_samples 60 --n_layer 2 --n_head 2 --d_head 16 --d_model 32 --d_inner 64 "
    "--init xavier --batch_size 50 --eval_batch_size 60 --lr 0.003 --warmup_step 20 --clip 1 "
    "--scheduler constant --max_step 400 --eval_interval 50 --stop_at 0.97 --seed 4"
).split()


def test_memory_is_learned(encoded_dir, tmp_path):
    """The answer's segment does not see the prompt, so a model without memory can only guess."""
    for name, flags in (("rmt", ["--mem_len", 3]), ("baseline", ["--max_step", 200])):
        flags = [*LEARNER, "--model", name, *flags, "--encoded_dir", encoded_dir]
        assert run(train.main, *flags, "--work_dir", tmp_path / name).status == 0
    assert result(tmp_path / "rmt")["test_accuracy"] > 0.9
    assert result(tmp_path / "baseline")["test_accuracy"] < 0.3


# The end


RATES = ("accuracy", "sequence_accuracy", "solve_rate")
QUADRATIC = "--dataset quadratic --segments 6 --eval_batch_size 10 --max_step 2".split()


@pytest.fixture
def told_rates(monkeypatch):
    """Let the evaluations of a run find these values of one rate, one after the other."""

    def told_rates(name: str, values: list[float]) -> None:
        remaining = iter(values)

        def evaluate_task(*_, **__) -> dict[str, float]:
            others = {rate: 1 - name.startswith(rate) for rate in RATES}
            scores = {"loss": 1.0, **others, "forced_accuracy": 1.0, "forced_solve_rate": 1.0}
            return scores | {name: next(remaining), "n_samples": 10}

        monkeypatch.setattr(workloads, "evaluate_task", evaluate_task)

    return told_rates


@pytest.mark.parametrize(
    ("task", "rate"),
    [
        (REVERSE, "accuracy"),
        (["--dataset", "retrieval", "--segments", "2"], "accuracy"),
        (QUADRATIC, "solve_rate"),
    ],
)
def test_a_solved_task_ends_early(tiny_task, tmp_path, told_rates, monkeypatch, task, rate):
    flags = [*tiny_task, *RMT, *task, *"--max_step 9 --eval_interval 2 --stop_at 0.6".split()]
    told_rates(rate, [0.3, 0.6, 0.5])
    assert run(train.main, *flags, "--work_dir", tmp_path).status == 0
    assert [entry["step"] for entry in records(tmp_path, "valid")] == [2, 4]
    found = result(tmp_path)
    assert (found["steps"], found["best_step"], found["test_step"]) == (4, 4, 4)
    assert found["test_acc"] == found[f"test_{rate}"] == 0.5

    # A restart goes straight to the test.
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained on"))
    told_rates(rate, [0.4])
    assert run(train.main, *flags, "--work_dir", tmp_path, "--restart").status == 0
    assert (result(tmp_path)["steps"], result(tmp_path)["test_acc"]) == (4, 0.4)


def test_a_restart_may_aim_higher(tiny_task, tmp_path, told_rates):
    flags = [*tiny_task, *RMT, *REVERSE, *"--max_step 9 --eval_interval 2".split()]
    flags += ["--scheduler", "constant", "--work_dir", tmp_path]
    told_rates("accuracy", [0.6, 0.6])
    assert run(train.main, *flags, "--stop_at", "0.6").status == 0
    told_rates("accuracy", [0.5, 0.9, 0.8])
    assert run(train.main, *flags, "--stop_at", "0.9", "--restart").status == 0
    assert [entry["step"] for entry in records(tmp_path, "valid")] == [2, 4, 6]
    assert result(tmp_path)["steps"] == 6


def test_by_default_nothing_ends_early(tiny_task, tmp_path, told_rates):
    told_rates("accuracy", [1.0] * 3)
    flags = [*tiny_task, *RMT, *REVERSE, "--eval_interval", "2", "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    assert result(tmp_path)["steps"] == 4


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_trained_and_tested(trained, name):
    found = result(trained(*MODELS[name], *REVERSE))
    wanted = {"dataset": "reverse", "n": 5, "segments": 3, "tgt_len": 4, "bptt_unrolls": -1}
    wanted |= {"model": name, "n_token": 10, "steps": 4, "tokens": 4 * 4 * 10, **SIZES}
    wanted |= {"eval_protocol": {"tgt_len": 4, "batch_size": 2}, "test_n_samples": 10}
    assert {key: found[key] for key in wanted} == wanted
    assert "pairs" not in found
    assert found["test_acc"] == found["test_accuracy"]
    for rate in (*RATES, *(f"forced_{rate}" for rate in RATES)):
        assert 0 <= found[f"test_{rate}"] <= 1
    assert 1 < found["test_loss"] < 4


def test_results_of_the_other_tasks(trained):
    found = result(trained(*RMT, *QUADRATIC))
    assert (found["segments"], found["tgt_len"], found["n_token"]) == (6, 30, 24)
    assert found["test_acc"] == found["test_solve_rate"] < found["test_accuracy"]
    assert not {"n", "pairs"} & found.keys()
    found = result(trained(*RMT, *"--dataset retrieval --pairs 3 --tgt_len 5".split()))
    assert (found["segments"], found["pairs"]) == (2, 3)
    assert "n" not in found
    found = result(trained(*RMT, *"--dataset copy --n 4 --tgt_len 99".split()))
    assert (found["segments"], found["tgt_len"], found["n"]) == (1, 12, 4)


def test_validation_on_some_samples_and_test_on_all(trained):
    folder = trained(*RMT, *REVERSE, *"--max_eval_steps 3 --eval_interval 2".split())
    assert [entry["n_samples"] for entry in records(folder, "valid")] == [6, 6]
    assert result(folder)["test_n_samples"] == 10


def test_the_best_checkpoint_answers_best(tiny_task, tmp_path, told_rates):
    """Its loss is another matter."""
    told_rates("accuracy", [0.3, 0.5, 0.4, 0.5, 0.2])
    flags = [*tiny_task, *RMT, *REVERSE, "--eval_interval", "1", "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    assert (result(tmp_path)["best_step"], result(tmp_path)["test_step"]) == (2, 2)


def test_more_steps_go_on_from_the_last(trained, tiny_task, tmp_path):
    """N + N steps are 2N steps where nothing depends on max_step."""
    flags = [*MODELS["trxl_rmt"], *REVERSE, "--dropout", "0.1", "--scheduler", "constant"]
    flags += ["--batch_size", "10", "--eval_interval", "4"]  # 6 batches in an epoch
    whole = trained(*flags, "--max_step", "16")
    halves = [*tiny_task, *flags, "--work_dir", tmp_path]
    assert run(train.main, *halves, "--max_step", "8").status == 0
    assert run(train.main, *halves, "--max_step", "16", "--restart").status == 0
    assert_equal_weights(whole, tmp_path)
    assert losses_of(whole) == losses_of(tmp_path)
    assert result(whole)["test_loss"] == result(tmp_path)["test_loss"]


def test_the_recipe_fills_in_what_flags_leave_open(tmp_path, encoded_dir):
    flags = "--recipe fast --dataset reverse --n 4 --segments 2 --n_layer 1 --d_model 8".split()
    flags += "--batch_size 20 --eval_batch_size 10 --clip 0.5 --max_step 1".split()
    flags += [*SAMPLES, "--encoded_dir", encoded_dir, *RMT, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    about = json.loads((tmp_path / "config.json").read_text())
    own = {"batch_size": 20, "eval_batch_size": 10, "clip": 0.5, "max_step": 1}
    expected = recipes.FAST | find("reverse").fast | own
    options = about["train"] | about["model"]
    assert {name: options[name] for name in expected} == expected


# rmt.eval


@pytest.mark.parametrize("name", MODELS)
def test_eval_prints_the_score_of_training(trained, name):
    folder = trained(*MODELS[name], *REVERSE)
    outcome = run(evaluation.main, "--work_dir", folder)
    assert (outcome.status, outcome.err) == (0, "")
    log = (folder / "log.txt").read_text()
    assert "test " + log.split("End of training | test ")[1].splitlines()[0] in outcome.out
    assert f"tokens {result(folder)['test_accuracy']:.4f}, answers" in outcome.out
    assert "| tgt_len 4, batch_size 2\n" in outcome.out
    assert "| test: 10 samples in" in outcome.out


def test_eval_in_other_batches(trained):
    folder = trained(*RMT, *REVERSE)
    plain = run(evaluation.main, "--work_dir", folder).out.splitlines()
    other = run(evaluation.main, "--work_dir", folder, "--batch_size", 7).out.splitlines()
    assert other[1] == "| tgt_len 4, batch_size 7"
    assert other[-2] == plain[-2]
    some = run(evaluation.main, "--work_dir", folder, "--max_eval_steps", 3, "--split", "test").out
    assert "| test: 6 samples in" in some


@pytest.fixture
def project(tmp_path, monkeypatch, trained):
    """A project whose runs are copies, of which the last is the newest."""
    monkeypatch.setattr(trained_runs, "project_root", lambda: tmp_path)
    runs = {
        "reverse5 in 3": [*RMT, *REVERSE],
        "reverse5 in 2": [*RMT, *"--dataset reverse --n 5 --segments 2".split()],
        "copy4": [*RMT, *"--dataset copy --n 4 --tgt_len 99".split()],
        "retrieval3": [*RMT, *"--dataset retrieval --pairs 3 --tgt_len 5".split()],
        "retrieval4 in 3": [*RMT, *"--dataset retrieval --segments 3".split()],
    }
    for i, (name, flags) in enumerate(runs.items()):
        folder = shutil.copytree(trained(*flags), tmp_path / "runs" / name, symlinks=True)
        for path in (folder / "checkpoints").iterdir():
            os.utime(path, (1000 + i, 1000 + i))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("", "retrieval4 in 3"),
        ("--segments 3", "retrieval4 in 3"),
        ("--segments 3 --dataset reverse", "reverse5 in 3"),
        ("--n 5", "reverse5 in 2"),
        ("--n 5 --segments 3", "reverse5 in 3"),
        ("--n 4", "copy4"),
        ("--pairs 3", "retrieval3"),
        ("--model rmt --dataset copy", "copy4"),
    ],
)
def test_the_newest_run_that_fits(project, flags, name):
    outcome = run(evaluation.main, *flags.split())
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(f"| {project}/{name}/checkpoints/step-00000004, step 4\n")


@pytest.mark.parametrize(
    "flags", ["--n 3", "--segments 4", "--n 4 --pairs 3", "--segments 2 --n 4"]
)
def test_no_run_fits(project, flags):
    sentence = assert_one_sentence(run(evaluation.main, *flags.split()))
    assert f"no run in {project} fits" in sentence


@pytest.mark.parametrize("flags", ["--tgt_len 4", "--protocol txl", "--data elsewhere"])
def test_eval_refuses_what_is_for_text(trained, flags):
    outcome = run(evaluation.main, "--work_dir", trained(*TRXL, *REVERSE), *flags.split())
    name = flags.split()[0].removeprefix("--")
    assert assert_one_sentence(outcome) == f"{name} is for text; this is reverse: leave it out"


@pytest.mark.parametrize(("flags", "own"), [("--clamp_len 5", -1), ("--same_length", False)])
def test_eval_refuses_other_lengths_than_the_runs_own(trained, flags, own):
    outcome = run(evaluation.main, "--work_dir", trained(*TRXL, *REVERSE), *flags.split())
    name = flags.split()[0].removeprefix("--")
    sentence = f"this run was trained with {name} {own}: leave {name} out"
    assert assert_one_sentence(outcome) == sentence


def test_eval_refuses_another_memory_than_the_runs_own(trained):
    work_dir = trained(*TRXL, *REVERSE)
    own = json.loads((work_dir / "config.json").read_text())["model"]["mem_len"]
    assert run(evaluation.main, "--work_dir", work_dir, "--mem_len", own).status == 0
    for flag in ("--mem_len", "--cache_len"):
        outcome = run(evaluation.main, "--work_dir", work_dir, flag, own + 1)
        assert f"was trained with {flag[2:]}" in assert_one_sentence(outcome)


# Wrong use


@pytest.fixture
def refused(tmp_path):
    """Run with flags that can't work; return the sentence. Nothing may be written."""

    def refused(*flags: object) -> str:
        work_dir = tmp_path / "runs" / "new"
        sentence = assert_one_sentence(run(train.main, *flags, "--work_dir", work_dir))
        assert not work_dir.parent.exists()
        return sentence

    return refused


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        # Options of text
        ("--data somewhere", "data is for text: leave it out with dataset reverse"),
        ("--keep_newlines", "keep_newlines is for text: leave it out"),
        ("--tokenizer word", "tokenizer is for text: leave it out"),
        ("--adaptive", "adaptive is for text: leave it out"),
        ("--varlen", "varlen is for text: leave it out"),
        ("--eval_tgt_len 4", "eval_tgt_len is for text: leave it out"),
        # Of other tasks
        ("--pairs 3", "pairs means nothing to dataset reverse: leave it out"),
        ("--dataset copy --pairs 3", "pairs means nothing to dataset copy"),
        ("--dataset retrieval", "n means nothing to dataset retrieval: leave it out"),
        ("--dataset quadratic", "n means nothing to dataset quadratic"),
        # Numbers
        ("--segments 6", "10 tokens can't be cut into 6 segments of one length: with 2 tokens"),
        ("--segments 9", "can't be cut into 9 segments of one length: with 2 tokens each they are"),
        ("--segments 11", "11 segments of one length: with 1 tokens each they are 10"),
        ("--segments -1", "segments must be 0 or more"),
        ("--tgt_len 4", "either --segments (their number) or --tgt_len (their length)"),
        ("--curriculum 6", "curriculum 6 is more than the 5 that whole samples have"),
        ("--curriculum -2", "curriculum must be -1 or more"),
        ("--bptt_unrolls -2", "bptt_unrolls must be -1 or more"),
        ("--bptt_unrolls 1", "baseline passes no gradient between segments"),
        ("--stop_at nan", "stop_at must be 0 or more, but it is nan"),
        ("--stop_at -1", "stop_at must be 0 or more"),
        ("--stop_at 1.5", "stop_at is an accuracy, at most 1"),
        ("--segments 0", "either --segments (their number) or --tgt_len"),
        ("--n 0", "n must be 1 or more"),
        ("--n 1 --segments 1", "there are only 8 different samples of reverse with n 1, but 80"),
        ("--n 1000000000", "are too much: choose fewer or shorter"),
        ("--train_samples 0", "train_samples must be 1 or more"),
        ("--test_samples -1", "test_samples must be 0 or more"),
        ("--data_seed -1", "data_seed must be 0 or more"),
        ("--batch_size 61", "batch_size 61 is too large for 60 samples"),
        ("--batch_size 6 --batch_chunk 4", "batch_size 6 does not divide into 4 chunks"),
        ("--cutoffs 10", "stay below the vocabulary's 10 words"),
        ("--recipe slow", "argument --recipe: invalid choice: 'slow'"),
    ],
)
def test_impossible_settings(refused, tiny_task, flags, part):
    assert part in refused(*tiny_task, *REVERSE, "--model", "baseline", *flags.split())


@pytest.mark.parametrize("dataset", ["copy", "reverse", "retrieval", "quadratic"])
def test_how_samples_are_cut_must_be_said(refused, tiny_task, dataset):
    flags = [*tiny_task, "--model", "baseline", "--dataset", dataset]
    for both_or_neither in ("", "--segments 2 --tgt_len 5"):
        assert "say how the samples are cut" in refused(*flags, *both_or_neither.split())


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--segments 3", "segments is for the algorithmic tasks: leave it out with dataset wt103"),
        ("--curriculum 2", "curriculum is for the algorithmic tasks"),
        ("--recipe fast", "recipe fast is not for wt103: leave it out, or take fit"),
        ("--curriculum -1", "curriculum is for the algorithmic tasks"),
        ("--stop_at 0.5", "stop_at is for the algorithmic tasks"),
        ("--n 24", "n means nothing to dataset wt103: leave it out"),
        ("--pairs 4", "pairs means nothing to dataset wt103"),
        ("--train_samples 9", "train_samples means nothing to dataset wt103"),
        ("--valid_samples 9", "valid_samples means nothing to dataset wt103"),
        ("--test_samples 9", "test_samples means nothing to dataset wt103"),
        ("--data_seed 0", "data_seed means nothing to dataset wt103"),
        ("--bptt_unrolls -1", "bptt_unrolls must be 0 or more, but it is -1"),
    ],
)
def test_text_refuses_what_is_for_tasks(refused, tiny, flags, part):
    assert part in refused(*tiny, *RMT, *flags.split())


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--data_seed 1", "the data was"),
        ("--train_samples 61", "the data was"),
        ("--dataset copy", "dataset was reverse there and is copy now"),
        ("--segments 2", "tgt_len was 4 there and is 5 now"),
        ("--bptt_unrolls 2", "bptt_unrolls was -1 there and is 2 now"),
        ("--curriculum 2", "curriculum was 0 there and is 2 now"),
    ],
)
def test_restart_of_another_run(trained, tiny_task, flags, part):
    folder = trained(*RMT, *REVERSE)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = [*tiny_task, *RMT, *REVERSE, *flags.split(), "--work_dir", folder, "--restart"]
    sentence = assert_one_sentence(run(train.main, *flags))
    assert f"belongs to another run: {part}" in sentence
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
