"""The contract's defaults: a GRU that has only what a model must have is a model like any other."""

import json
import subprocess
import sys
import time

import pytest
import torch

from helpers import gru
from helpers.any_model import MODELS, any_model
from helpers.programs import (
    assert_one_sentence,
    process_settings,
    records,
    result,
    run,
    weights_of,
)
from rmt import eval as evaluation
from rmt import figures, tables, train
from rmt.evaluation.generation import generate
from rmt.models import registry
from rmt.models.contract import Carried, State
from rmt.runs.trained import load
from rmt.runtime.errors import UsageError

GRU = "--model gru --d_model 12 --lr 0.01 --log_interval 1 --eval_batch_size 2".split()
TASK = "--dataset reverse --n 3 --segments 2 --batch_size 20".split()
SAMPLES = "--train_samples 200 --valid_samples 20 --test_samples 20".split()
# What somebody writes who has a model of their own: register it, and call the program.
SCRIPT = """
import sys
import helpers.gru
from rmt import train
from rmt.runtime.errors import run_program
run_program(train.main)
"""


@pytest.fixture(scope="module")
def text(corpus_folder, encoded_dir):
    data = ["--dataset", "wt103", "--data", corpus_folder, "--encoded_dir", encoded_dir]
    return [*map(str, data), *GRU, *"--tgt_len 8 --batch_size 4 --max_step 6".split()]


@pytest.fixture(scope="module")
def task(encoded_dir):
    return [*TASK, *SAMPLES, *GRU, "--max_step", "6", "--encoded_dir", str(encoded_dir)]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "my_train.py"
    path.write_text(SCRIPT)
    return path


def started(script, *flags: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    settings = process_settings() | {"stderr": subprocess.STDOUT}
    path = settings["env"]["PYTHONPATH"]
    settings["env"] |= {"PYTHONPATH": f"{path}:{path}/../tests", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen([sys.executable, *launcher, script, *map(str, flags)], **settings)


def model_of(**options) -> gru.GRULanguageModel:
    torch.manual_seed(0)
    return registry.build(gru.GRUOptions(n_token=9, d_model=5, **options)).double().eval()


def test_it_trains_on_text_with_gradient_through_the_state(text, tmp_path):
    plain, deep = tmp_path / "plain", tmp_path / "deep"
    for folder, depth in ((plain, 0), (deep, 2)):
        outcome = run(train.main, *text, "--bptt_unrolls", depth, "--work_dir", folder)
        assert outcome.status == 0, outcome.err
    for schedule in ("--bptt_mode window", "--checkpoint_segments", "--batch_chunk 2"):
        folder = tmp_path / schedule.split()[0].strip("-")
        flags = [*text, "--bptt_unrolls", 2, *schedule.split(), "--work_dir", folder]
        assert run(train.main, *flags).status == 0
    assert result(deep)["n_carried"] == 12
    assert result(deep)["carries_gradient"]
    assert result(deep)["n_all_param"] == 51 * 12 + 2 * (3 * 12 * 12 + 3 * 12) + 12 * 51 + 51
    assert result(deep)["n_nonemb_param"] == result(deep)["n_all_param"] - 51 * 12
    assert any(
        not torch.equal(weight, weights_of(deep)[name])
        for name, weight in weights_of(plain).items()
    )


def test_it_is_scored_and_has_its_row_in_tables_and_figures(text, task, tmp_path):
    folders = {"text": tmp_path / "text", "task": tmp_path / "task"}
    assert run(train.main, *text, "--work_dir", folders["text"]).status == 0
    assert run(train.main, *task, "--work_dir", folders["task"]).status == 0
    for folder in folders.values():
        score = run(evaluation.main, "--work_dir", folder, "--split", "test").out.splitlines()[-2]
        assert score.removeprefix("| ") in run_log(folder)
    table = run(tables.main, "runs", folders["text"]).out.splitlines()[-1]
    assert table.startswith(f"| gru, BPTT-0 | {result(folders['text'])['test_ppl']:.2f} | 1 | 12 |")
    table = run(tables.main, "tasks", folders["task"]).out.splitlines()[-1]
    assert table.startswith("| reverse, n 3 | gru | 2 of 3 | 0 |")
    for kind, figure in (("text", "curves"), ("task", "accuracy")):
        out = tmp_path / f"{figure}.png"
        assert run(figures.main, figure, folders[kind], "--out", out).status == 0
        assert out.exists()
    sentence = assert_one_sentence(run(figures.main, "attention", "--work_dir", folders["task"]))
    assert sentence == "gru has no attention to look at"


def run_log(folder) -> str:
    return (folder / "log.txt").read_text()


def test_it_generates_what_predicting_again_from_the_start_says(text, tmp_path):
    assert run(train.main, *text, "--work_dir", tmp_path).status == 0
    model = load(tmp_path)
    assert model.vocabulary.decode([0]) == ["<eos>"]
    assert not model.training
    prompt = torch.tensor([[1, 2, 3], [4, 5, 6]])
    stream = prompt
    for _ in range(12):
        log_probs, _ = model.predict(stream)  # a GRU doesn't see where segments end
        stream = torch.cat([stream, log_probs[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generate(model, prompt, 12, tgt_len=5), stream[:, 3:])


def test_it_goes_on_after_a_kill(text, tmp_path, script):
    flags = [*text, "--save_interval", 3, "--eval_interval", 50, "--scheduler", "constant"]
    process = started(script, *flags, "--max_step", 10**6, "--work_dir", tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    step = 3 + max(
        int(path.name.removeprefix("step-")) for path in (tmp_path / "killed/checkpoints").iterdir()
        if path.name.startswith("step-")
    )  # fmt: skip
    flags += ["--max_step", step]
    for folder, restart in (("killed", ["--restart"]), ("whole", [])):
        assert run(train.main, *flags, "--work_dir", tmp_path / folder, *restart).status == 0
    whole, killed = (weights_of(tmp_path / folder) for folder in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_two_processes_train_as_one(text, tmp_path, script):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    flags = [*text, "--bptt_unrolls", "1"]
    process = started(script, *flags, "--work_dir", tmp_path / "two", launcher=launcher)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert run(train.main, *flags, "--work_dir", tmp_path / "one").status == 0
    assert result(tmp_path / "two")["processes"] == 2
    one, two = (records(tmp_path / folder, "train") for folder in ("one", "two"))
    one, two = ([entry["loss"] for entry in entries] for entries in (one, two))
    assert two == pytest.approx(one, rel=1e-4)


def test_its_options_are_flags_and_no_others(text, tmp_path):
    outcome = run(train.main, *text, "--mem_len", 3, "--work_dir", tmp_path / "new")
    assert assert_one_sentence(outcome) == "mem_len means nothing to model gru: leave it out"
    outcome = run(train.main, *text, "--d_model", 0, "--work_dir", tmp_path / "new")
    assert assert_one_sentence(outcome) == "d_model must be 1 or more, but it is 0"
    assert not (tmp_path / "new").exists()


def test_what_its_config_records_is_read_back(text, tmp_path):
    assert run(train.main, *text, "--work_dir", tmp_path).status == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == {"n_token": 51, "model": "gru", "d_model": 12}
    assert load(tmp_path).config == gru.GRUOptions(51, "gru", 12)


# The defaults themselves


def test_the_calls_that_follow_from_predict():
    model = model_of()
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    targets = torch.tensor([[2, -100, 4], [5, 6, 7]])
    log_probs, state = model.predict(tokens)
    nll, after = model(tokens, targets)
    expected = -log_probs.gather(2, targets.clamp(min=0)[..., None]).squeeze(2)
    expected[0, 1] = 0
    torch.testing.assert_close(nll, expected)
    assert torch.equal(model.advance(tokens).hidden, state.hidden)
    assert torch.equal(after.hidden, state.hidden)
    assert model.carries == Carried(5, gradient=True)


def test_rooms_change_nothing_where_none_are_needed():
    model, tokens = model_of(), torch.tensor([[1, 2, 3]])
    assert model.rooms(tokens) == ()
    expected, _ = model(tokens, tokens)
    with model.given_rooms(model.rooms(tokens)):
        assert model.rooms_given == ()
        with model.given_rooms(None):
            assert model.rooms_given is None
        found, _ = model(tokens, tokens)
    assert model.rooms_given is None
    assert torch.equal(found, expected)


def test_lengths_that_it_has_not_are_refused():
    model = model_of()
    same = model.with_lengths()
    assert same.output.weight is model.output.weight
    with pytest.raises(UsageError, match="gru has no mem_len: leave mem_len out"):
        model.with_lengths(mem_len=3)
    with pytest.raises(UsageError, match="d_model 5, which its weights depend on"):
        model.with_lengths(d_model=6)


def test_a_state_is_a_value():
    state = gru.Hidden(torch.arange(12.0).view(4, 3).requires_grad_())
    assert not state.detach().hidden.requires_grad
    assert state[1:3].hidden.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert state.to(torch.float64).hidden.dtype == torch.float64
    again = gru.Hidden.from_tensors(state.tensors())
    assert torch.equal(again.hidden, state.hidden)
    assert gru.Hidden.from_tensors({}) == gru.Hidden()
    assert State().tensors() == {}
    assert state.check_streams(4) is state
    with pytest.raises(ValueError, match="the state's hidden holds 4 streams, the tokens 5"):
        state.check_streams(5)


def test_a_name_that_nothing_has():
    with pytest.raises(UsageError, match=r"model must be one of baseline, .*, not 'lstm'"):
        registry.find("lstm")


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_takes_the_state_of_its_streams_alone(name):
    model, tokens = any_model(name), torch.tensor([[1, 2, 3], [4, 5, 6]])
    state = model.advance(tokens)
    assert model.decoder(state, 4, 2).feed(tokens).shape == (2, model.config.n_token)
    if state.tensors():
        with pytest.raises(ValueError, match="holds 2 streams, the tokens 3"):
            model.decoder(state, 4, 3)
