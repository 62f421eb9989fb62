"""rmt.generate: what a run says after a prompt, in text, and what it keeps."""

import contextlib
import functools
import io
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rmt
from helpers import gru  # noqa: F401  registers a model of the contract's defaults
from helpers.programs import (
    RMT,
    SAMPLES,
    TRXL,
    assert_one_sentence,
    run,
    run_process,
    trained_when_asked,
)
from rmt import generate

GRU = "--model gru --d_model 12 --lr 0.01 --log_interval 1".split()
TASK = "--dataset reverse --n 3 --segments 2 --batch_size 20 --max_step 2 --eval_batch_size 20"
TASK += " --train_samples 100 --valid_samples 20 --test_samples 20 --n_layer 1 --d_model 8"
TASK += " --n_head 1 --d_head 4 --d_inner 8 --log_interval 1"


def moved(folder: Path, to: Path) -> Path:
    """A copy that knows no place of its text any more."""
    shutil.copytree(folder, to, symlinks=True)
    path = to / "config.json"
    record = json.loads(path.read_text())
    record["train"] |= {"data": "gone" if record["train"]["data"] else "", "encoded_dir": "gone"}
    path.write_text(json.dumps(record))
    return to


@pytest.fixture(scope="module")
def runs(tiny, text_file, corpus_folder, encoded_dir, tmp_path_factory):
    """Folders of runs without their texts, by name, made when first asked for."""
    text = ["--dataset", "text", "--data", text_file]
    enwik8 = ["--dataset", "enwik8", "--data", text_file]
    words = ["--dataset", "wt103", "--data", corpus_folder, "--tgt_len", 8, "--batch_size", 4]
    flags = {
        "words": [*tiny, *RMT],
        "trxl": [*tiny, *TRXL],
        "characters": [*tiny, *RMT, *text],
        "rare words": [*tiny, *TRXL, *text, "--tokenizer", "word"],
        "bytes": [*tiny, *RMT, *enwik8],
        "task": [*TASK.split(), *RMT, "--encoded_dir", encoded_dir],
        "gru": [*GRU, *words, "--encoded_dir", encoded_dir, "--max_step", 4],
    }
    trained = trained_when_asked(flags, tmp_path_factory)

    @functools.cache
    def folder(name: str) -> Path:
        made = trained(name)
        there = moved(made, made.with_name("moved"))
        shutil.rmtree(made)
        return there

    return folder


def said(folder: Path, *flags: object) -> str:
    """What rmt.generate printed; nothing in the run folder may change."""
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    outcome = run(generate.main, "--work_dir", folder, *flags)
    assert (outcome.status, outcome.err) == (0, "")
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before
    return outcome.out


PROMPTS = {
    "words": "w1 w2 w3\nw4",
    "trxl": "w1 w2 w3\nw4",
    "gru": "w1 w2 w3\nw4",
    "characters": "the cat",
    "rare words": "the cat sat",
    "bytes": "the cat",
    "task": "351>",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_it_says_what_the_model_samples(runs, name):
    """Over several segments; the text is not there."""
    model = rmt.load(runs(name))
    ids = model.codec.encode(PROMPTS[name])
    tokens = list(rmt.sample(model, ids, 30, temperature=0.8, top_k=9, seed=4))
    how = "--tokens 30 --temperature 0.8 --top_k 9 --seed 4".split()
    out = said(runs(name), "--prompt", PROMPTS[name], *how)
    assert PROMPTS[name] + out == model.codec.decode([*ids, *tokens]) + "\n"


def test_a_prompt_of_a_file_and_of_standard_input(runs, tmp_path, monkeypatch):
    folder, file = runs("characters"), tmp_path / "prompt.txt"
    file.write_text("the cat sat on the mat" * 3)
    expected = said(folder, "--prompt", file.read_text(), "--tokens", 9)
    assert said(folder, "--prompt_file", file, "--tokens", 9) == expected
    standard_input = SimpleNamespace(buffer=io.BytesIO(file.read_bytes()))
    monkeypatch.setattr("sys.stdin", standard_input)
    assert said(folder, "--prompt_file", "-", "--tokens", 9) == expected


def test_samples_have_seeds_of_their_own(runs):
    flags = ["--prompt", "the", "--tokens", 20]
    first, second = (said(runs("characters"), *flags, "--seed", seed) for seed in (7, 8))
    out = said(runs("characters"), *flags, "--seed", 7, "--samples", 2)
    heads = [f"| sample {i + 1} of 2, seed {7 + i}\n" for i in range(2)]
    assert out == heads[0] + first + heads[1] + second
    assert first != second


def test_greedy_has_no_chance(runs):
    outs = {
        said(runs("words"), "--prompt", "w1", "--greedy", "--tokens", 20, "--seed", seed)
        for seed in range(3)
    }
    assert len(outs) == 1


def test_other_lengths_and_the_last_checkpoint(runs):
    flags = ["--prompt", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12", "--tokens", 30]
    model = rmt.load(runs("trxl"), which="last", mem_len=1)
    ids = model.codec.encode(flags[1])
    tokens = list(rmt.sample(model, ids, 30, tgt_len=3))
    out = said(runs("trxl"), *flags, "--checkpoint", "last", "--mem_len", 1, "--tgt_len", 3)
    assert flags[1] + out == model.codec.decode([*ids, *tokens]) + "\n"


@pytest.mark.parametrize("name", ["words", "characters", "gru", "task"])
def test_what_was_read_and_said_is_kept(runs, name, tmp_path):
    """Going on from it, with or without a prompt, is going on from the whole text."""
    folder, prompt = runs(name), PROMPTS[name]
    a, b, whole = tmp_path / "a", tmp_path / "b", tmp_path / "whole"
    first = said(folder, "--prompt", prompt, "--tokens", 13, "--greedy", "--state_out", a)
    then = said(folder, "--state_in", a, "--tokens", 9, "--greedy", "--state_out", b)
    out = said(folder, "--prompt", prompt, "--tokens", 22, "--greedy", "--state_out", whole)
    model = rmt.load(folder)
    assert model.codec.encode(prompt + out[:-1]).tolist() == [
        *model.codec.encode(prompt + first[:-1]),
        *model.codec.encode(then[:-1]),
    ]
    assert b.read_bytes() == whole.read_bytes()
    more = said(folder, "--state_in", b, "--prompt", prompt, "--tokens", 5, "--seed", 3)
    ids = model.codec.encode(prompt)
    state = rmt.StreamState.load(whole, model)
    tokens = list(rmt.sample(model, ids, 5, state=state, seed=3))
    assert more == "".join(model.codec.pieces(tokens, int(ids[-1]))) + "\n"


def test_reading_alone(runs, tmp_path, text_file):
    folder, file = runs("characters"), tmp_path / "book"
    flags = ["--prompt_file", text_file, "--tokens", 0, "--state_out", file]
    assert said(folder, *flags) == ""
    assert file.stat().st_size < 3_000, "whatever was read"
    model = rmt.load(folder)
    expected = rmt.read(model, model.codec.encode(text_file.read_text()))
    assert rmt.StreamState.load(file, model).open_tokens.tolist() == expected.open_tokens.tolist()


def test_as_a_program(runs):
    flags = ["--work_dir", runs("characters"), "--prompt", "the", "--tokens", 5]
    assert run_process("rmt.generate", *flags).out == said(*flags[1:2], *flags[2:])


# Wrong use


@pytest.mark.parametrize(
    ("name", "flags", "part"),
    [
        ("words", "", "there is nothing to continue: give --prompt, --prompt_file or --state_in"),
        ("words", "--prompt=", "there is nothing to continue"),
        ("words", "--prompt_file nowhere", "there is no file nowhere"),
        ("words", "--prompt w1 --prompt_file x", "leave one out"),
        ("words", "--prompt dog", "the prompt, line 1: the word 'dog' does not occur in"),
        ("words", "--prompt dog --unk", "the vocabulary of the run has no <unk>: leave out --unk"),
        ("rare words", "--prompt dogs", "line 1: the word 'dogs' does not occur in the training"),
        ("rare words", "--prompt dogs", "--unk takes <unk> for such words"),
        ("characters", "--prompt ß", "the character 'ß' does not occur"),
        ("task", "--prompt 35a", "the character 'a' does not occur"),
        ("words", "--prompt w1 --temperature 0", "temperature must be above 0, but it is 0.0"),
        ("words", "--prompt w1 --temperature -1", "temperature must be above 0"),
        ("words", "--prompt w1 --greedy --top_k 3", "greedy takes the most likely token"),
        ("words", "--prompt w1 --top_p 2", "top_p must be above 0 and at most 1"),
        ("words", "--prompt w1 --tokens -1", "tokens must be 0 or more"),
        ("words", "--prompt w1 --tokens 0", "with --tokens 0 nothing is said"),
        ("words", "--prompt w1 --samples 0", "samples must be 1 or more"),
        ("words", "--prompt w1 --samples 2 --state_out x", "--state_out keeps one continuation"),
        ("words", "--prompt w1 --state_out nowhere/x", "nowhere/x can't be written (No such file"),
        ("words", "--prompt w1 --state_out .", ". can't be written: it is a folder"),
        ("words", "--prompt_file x --state_out ./x", "./x is the prompt: write the state to anoth"),
        ("words", "--prompt w1 --state_in nowhere", "there is no file nowhere"),
        ("words", "--prompt w1 --mem_len 5", "mem_len 2, which its weights depend on"),
        ("gru", "--prompt w1 --mem_len 5", "gru has no mem_len: leave mem_len out"),
        ("words", "--prompt w1 --work_dir nowhere", "nowhere is not a run folder"),
        ("words", "--prompt w1 --work_dir=", "say which run: --work_dir"),
        ("words", "--prompt w1 --checkpoint first", "invalid choice: 'first'"),
        ("words", "--prompt w1 --no_such_flag", "there is no option --no_such_flag"),
    ],
)
def test_wrong_use_is_one_sentence(runs, tmp_path, monkeypatch, name, flags, part):
    monkeypatch.chdir(tmp_path)
    outcome = run(generate.main, "--work_dir", runs(name), *flags.split())
    assert part in assert_one_sentence(outcome)
    assert outcome.out == ""
    assert not list(tmp_path.iterdir())


def test_empty_files(runs, tmp_path):
    file = tmp_path / "empty"
    file.write_text("")
    flags = ["--work_dir", runs("characters"), "--prompt_file", file]
    assert assert_one_sentence(run(generate.main, *flags)) == f"{file} is empty"
    file.write_text("\n\n")
    flags = ["--work_dir", runs("bytes"), "--prompt_file", file]
    assert "holds no token to continue" in assert_one_sentence(run(generate.main, *flags))


def test_another_runs_state(runs, tmp_path):
    file = tmp_path / "it"
    said(runs("words"), "--prompt", "w1", "--tokens", 0, "--state_out", file)
    outcome = run(generate.main, "--work_dir", runs("trxl"), "--state_in", file)
    assert "is of a model with model rmt, and this one has trxl" in assert_one_sentence(outcome)
    outcome = run(generate.main, "--work_dir", runs("words"), "--state_in", file, "--tgt_len", 5)
    assert "read in segments of 8 tokens: leave out tgt_len 5" in assert_one_sentence(outcome)


def test_a_run_whose_ids_mean_nothing_any_more(runs, tmp_path):
    folder = shutil.copytree(runs("words"), tmp_path / "run", symlinks=True)
    (folder / "vocabulary.json").unlink()
    outcome = run(generate.main, "--work_dir", folder, "--prompt", "w1")
    assert f"{folder} holds no vocabulary.json, and its text" in assert_one_sentence(outcome)
    shutil.rmtree(folder / "checkpoints")
    outcome = run(generate.main, "--work_dir", folder, "--prompt", "w1")
    assert f"there is no checkpoint in {folder}" in assert_one_sentence(outcome)


def test_an_old_run_of_a_task(tmp_path):
    folder = shutil.copytree(
        SAMPLES / "first_house" / "reverse-rmt", tmp_path / "run", symlinks=True
    )
    out = said(folder, "--prompt", "351027>", "--tokens", 6, "--greedy")
    assert len(out) == 7
    assert set(out) <= set("01234567>_\n")


# Any flags

FLAGS = {
    "prompt": (["w1", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"], ["dog", ""]),
    "prompt_file": ([], ["nowhere"]),
    "state_in": (["kept"], ["nowhere"]),
    "state_out": (["new"], ["nowhere/new"]),
    "tokens": ([0, 1, 20], [-1, "many"]),
    "samples": ([1, 2], [0]),
    "temperature": ([0.1, 1, 50], [0, -1, "nan"]),
    "top_k": ([0, 1, 1000], [-1]),
    "top_p": ([0.1, 1], [0, 2]),
    "greedy": ([True], []),
    "seed": ([0, 5], [-1, 2**63]),
    "tgt_len": ([1, 5, 100], [-1]),
    "mem_len": ([2, 8], [0, -1, 3]),
    "clamp_len": ([-1, 4], [0]),
    "same_length": ([True], []),
    "checkpoint": (["best", "last"], ["first"]),
    "unk": ([True], []),
    "cuda": ([], [True]),
}


@st.composite
def random_flags(draw) -> list[str]:
    """Three times in four of values that are allowed each by itself."""
    careful = draw(st.integers(0, 3)) > 0
    names = draw(st.lists(st.sampled_from(list(FLAGS)), max_size=5, unique=True))
    words = []
    for name in dict.fromkeys(["prompt", *names]):
        good, bad = FLAGS[name]
        if values := good if careful else good + bad:
            value = draw(st.sampled_from(values))
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def test_any_flags(runs):
    """They work, or end with one sentence, and then nothing is written."""
    seen = {"worked": 0, "refused": 0}
    kept = Path(tempfile.mkdtemp()) / "kept"
    said(runs("words"), "--prompt", "w1 w2", "--tokens", 3, "--state_out", kept)

    @settings(max_examples=200)
    @given(name=st.sampled_from(["words", "words", "trxl", "gru"]), flags=random_flags())
    def check(name, flags):
        folder = Path(tempfile.mkdtemp())
        shutil.copy(kept, folder / "kept")
        with contextlib.chdir(folder):
            outcome = run(generate.main, "--work_dir", runs(name), *flags)
        new = {path.name for path in folder.iterdir()} - {"kept"}
        if outcome.status:
            assert_one_sentence(outcome)
            assert (new, outcome.out) == (set(), "")
        else:
            assert new == ({"new"} if "--state_out" in flags else set())
        seen["refused" if outcome.status else "worked"] += 1
        shutil.rmtree(folder)

    check()
    shutil.rmtree(kept.parent)
    assert min(seen.values()) > 60, seen
