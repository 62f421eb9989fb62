"""rmt.eval --text: the scores of any text under a trained model."""

import contextlib
import json
import math
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rmt
from helpers import gru  # noqa: F401  registers the model
from helpers.programs import (
    RMT,
    TRXL,
    assert_one_sentence,
    process_settings,
    result,
    run,
    run_process,
    trained_when_asked,
)
from rmt import eval as evaluation
from rmt import train
from rmt.evaluation.given_text import prepare_text
from rmt.options.evaluation import EvalConfig
from rmt.runs.trained import load
from rmt.runtime import distributed

MODELS = {
    "baseline": ["--model", "baseline"],
    "mt": [*RMT, "--model", "mt"],
    "trxl": TRXL,
    "rmt": RMT,
    "trxl_rmt": [*RMT, "--model", "trxl_rmt", "--cache_len", "6"],
    "gru": "--model gru --d_model 12".split(),
}
GRU = "--tgt_len 8 --batch_size 4 --eval_batch_size 2 --max_step 4".split()
OWN = "w3 w4 w7 w8\n\nw1 w0 w49 w2 w5 w5\nw10 w11 w13 w12 w14 w17 w20\n"


@pytest.fixture(scope="module")
def runs(tiny, text_file, corpus_folder, encoded_dir, tmp_path_factory):
    """Folders of finished runs, by name, made when first asked for."""
    text = ["--dataset", "text", "--data", text_file]
    words = ["--dataset", "text", "--data", corpus_folder, "--tokenizer", "word"]
    flags = {
        **{name: [*tiny, *model] for name, model in MODELS.items()},
        "gru": [*tiny[:6], *GRU, *MODELS["gru"]],
        "characters": [*tiny, *RMT, *text],
        "own words": [*tiny, *RMT, *words],
    }
    return trained_when_asked(flags, tmp_path_factory)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(OWN)
    return path


def score(work_dir, *flags: object) -> str:
    outcome = run(evaluation.main, "--work_dir", work_dir, *flags)
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out


def ids_of(text: str, vocabulary) -> torch.Tensor:
    symbols = text.replace("\n", " <eos> ").split()
    return torch.from_numpy(vocabulary.encode(symbols))[None]


@torch.no_grad()
def nats_by_hand(model, ids_1N: torch.Tensor, tgt_len: int) -> list[float]:
    """Of every token but the first: predicted segment by segment, read from log-probabilities."""
    nats, state = [], None
    for start in range(0, ids_1N.shape[1] - 1, tgt_len):
        segment = ids_1N[:, start : start + tgt_len][:, : ids_1N.shape[1] - 1 - start]
        log_probs, state = model.predict(segment, state)
        for t in range(segment.shape[1]):
            nats.append(-log_probs[0, t, ids_1N[0, start + t + 1]].item())
    return nats


@pytest.mark.parametrize("name", MODELS)
def test_every_token_costs_what_a_sum_by_hand_says(runs, name, own, tmp_path):
    """In float64, by every model."""
    ids = ids_of(OWN, load(runs(name)).vocabulary)
    expected = nats_by_hand(load(runs(name)).double(), ids, tgt_len=8)
    rows_file = tmp_path / "tokens.jsonl"
    config = EvalConfig(text=(str(own),), per_token=str(rows_file))
    prepared = prepare_text(config, runs(name), {})
    prepared.run.model.double()
    ((label, scores, _),) = prepared.scores()
    assert label == str(own)
    assert scores["tokens_scored"] == len(expected) == ids.shape[1] - 1
    assert scores["loss"] == pytest.approx(math.fsum(expected) / len(expected), rel=1e-12)
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    assert [row["nats"] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert [row["position"] for row in rows] == list(range(1, ids.shape[1]))
    assert [row["segment"] for row in rows] == [i // 8 for i in range(ids.shape[1] - 1)]
    assert [row["token"] for row in rows] == prepared.run.vocabulary.decode(ids[0, 1:].tolist())
    assert {row["file"] for row in rows} == {str(own)}


def test_the_test_split_as_a_file_has_the_score_of_training(runs, corpus_folder, tmp_path):
    """With as many streams as in training."""
    path = tmp_path / "scores.json"
    flags = ["--text", corpus_folder / "test.txt", "--batch_size", 2, "--json", path]
    out = score(runs("trxl"), *flags)
    report = json.loads(path.read_text())
    (found,) = report["scores"]
    assert found["loss"] == result(runs("trxl"))["test_loss"]
    assert found["ppl"] == pytest.approx(math.exp(found["loss"]))
    assert report["protocol"] == {"tgt_len": 8, "batch_size": 2, "mem_len": 8}
    assert f"loss {found['loss']:5.2f} | ppl {found['ppl']:9.3f}" in out
    score(runs("trxl"), "--json", path)
    valid, test = json.loads(path.read_text())["scores"]
    assert (valid["of"], test["of"]) == ("valid", "test")
    assert test["loss"] == found["loss"]


def test_several_texts_are_streams_of_their_own(runs, own, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("w1 w2 w3 w4 w6\n" * 9)
    path = tmp_path / "scores.json"
    score(runs("rmt"), "--text", own, other, "--json", path)
    both = json.loads(path.read_text())["scores"]
    assert [each["of"] for each in both] == [str(own), str(other), "together"]
    for each, file in zip(both, (own, other), strict=False):
        score(runs("rmt"), "--text", file, "--json", path)
        (alone,) = json.loads(path.read_text())["scores"]
        assert {**alone, "seconds": 0} == {**each, "seconds": 0}
    total = sum(each["loss"] * each["tokens_scored"] for each in both[:2])
    assert both[2]["tokens_scored"] == both[0]["tokens_scored"] + both[1]["tokens_scored"]
    assert both[2]["loss"] == pytest.approx(total / both[2]["tokens_scored"], rel=1e-12)


def test_positions_in_several_streams(runs, own, tmp_path):
    rows_file = tmp_path / "tokens.jsonl"
    score(runs("rmt"), "--text", own, "--batch_size", 3, "--per_token", rows_file, "--tgt_len", 3)
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    symbols = OWN.replace("\n", " <eos> ").split()
    assert all(row["token"] == symbols[row["position"]] for row in rows)
    length = len(symbols) // 3
    expected = [i for i in range(3 * length) if i % length]  # a stream's first is not predicted
    assert sorted(row["position"] for row in rows) == expected
    assert all((row["position"] % length - 1) // 3 == row["segment"] for row in rows)


@pytest.mark.parametrize("text", ["w1 w2 w3\n", "w1", "w1 w2 w3 w4 w5 w6 w7 w8 w9\n"])
def test_short_texts_are_one_short_segment(runs, tmp_path, text):
    path = tmp_path / "short.txt"
    path.write_text(text)
    n = len(text.split())
    assert f"short.txt: {n} tokens" in score(runs("rmt"), "--text", path)


def test_characters_from_standard_input(runs, tmp_path):
    path = tmp_path / "scores.json"
    flags = ["--work_dir", runs("characters"), "--text", "-", "--json", path]
    settings = process_settings()
    settings.pop("stdin", None)
    outcome = run_process("rmt.eval", *flags, input="the cat sat on the log.\n", **settings)
    assert (outcome.status, outcome.err) == (0, "")
    (found,) = json.loads(path.read_text())["scores"]
    assert (found["of"], found["tokens_scored"]) == ("standard input", 23)
    assert found["bpc"] == pytest.approx(found["loss"] / math.log(2))
    assert f"standard input loss {found['loss']:5.2f} | bpc" in outcome.out


def test_unknown_words(runs, tmp_path):
    path = tmp_path / "strange.txt"
    path.write_text("w1 w2\nzebra w3 zebu\n")
    refused = run(evaluation.main, "--work_dir", runs("own words"), "--text", path)
    sentence = assert_one_sentence(refused)
    assert sentence.startswith(f"{path}, line 2: the word 'zebra' does not occur")
    assert sentence.endswith("--unk takes <unk> for such words")
    assert refused.out == ""
    assert "| 2 unknown" in score(runs("own words"), "--text", path, "--unk")
    path.write_text("w1 w2\n<unk> w3 <unk>\n")
    assert "loss" in score(runs("own words"), "--text", path), "it is a word like any other"


def test_a_run_that_was_moved_away_from_its_text(runs, own, tmp_path):
    moved = shutil.copytree(runs("rmt"), tmp_path / "moved", symlinks=True)
    config = json.loads((moved / "config.json").read_text())
    config["train"]["data"] = "nowhere"
    (moved / "config.json").write_text(json.dumps(config))
    here, there = (score(folder, "--text", own).splitlines()[-2] for folder in (runs("rmt"), moved))
    assert here == there
    (moved / "vocabulary.json").unlink()
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", moved, "--text", own))
    assert "holds no vocabulary.json, and its text can't be read (there is no" in sentence


def test_a_run_older_than_vocabularies_in_run_folders(runs, own, tmp_path):
    older = shutil.copytree(runs("rmt"), tmp_path / "older", symlinks=True)
    (older / "vocabulary.json").unlink()
    expected = score(runs("rmt"), "--text", own).splitlines()[-2]
    assert score(older, "--text", own).splitlines()[-2] == expected
    config = json.loads((older / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for split in ("train", "valid", "test"):
        (other / f"{split}.txt").write_text("w1 w2 w3\n" * 30)
    config["train"] |= {"data": str(other), "encoded_dir": str(tmp_path / "encoded")}
    (older / "config.json").write_text(json.dumps(config))
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", older, "--text", own))
    assert "is not the one that it was trained on" in sentence


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--text nowhere.txt", "there is no file nowhere.txt"),
        ("--text {own} {empty}", "empty.txt is empty"),
        ("--text {own} --unk", "the vocabulary of the run has no <unk>: leave out --unk"),
        ("--text {own} --split test", "split is for what the run was trained on: leave it out"),
        ("--text {own} --data {own}", "data is for what the run was trained on: leave it out"),
        ("--text {own} --batch_size 50", "21 tokens, too few for 50 streams"),
        ("--text {own} --json {own}", "own.txt is a text to score: write to another file"),
        ("--text {own} --json {folder}/./own.txt", "own.txt is a text to score: write to another"),
        ("--text {own} --json {x} --per_token {x}", "x can't hold several of json, per_token"),
        ("--text {own} --json {folder}", "can't be written: it is a folder"),
        ("--text {own} --per_token {folder}/no/x", "can't be written (No such file or directory)"),
        ("--text {own} --per_token {own}/x", "can't be written (Not a directory)"),
        ("--text {own} --state_out {folder}/no/x", "can't be written (No such file or directory)"),
        ("--text {own} --state_out {folder}", "can't be written: it is a folder"),
        ("--text {own} --state_out {folder}/" + 300 * "x", "can't be written (File name too long)"),
        ("--split test --json {folder}/no/x", "can't be written (No such file or directory)"),
        ("--text {own} --precision fp16", "precision fp16 needs --cuda"),
        ("--text {own} --mem_len 5", "trained with mem_len 2, which its weights depend on"),
        ("--text {own} {own} --state_out {x}", "a state is of one text"),
        ("--text {own} --batch_size 2 --state_in {x}", "a state is of one text"),
        ("--text {own} --state_out {x} --max_eval_steps 1", "state_out is of the whole text"),
        ("--text {own} --state_in {x}", "there is no file"),
        ("--text {own} --state_in {own}", "own.txt is damaged, or no state of a reader"),
        ("--state_out {x}", "state_out is for --text: leave it out"),
        ("--unk", "unk is for --text: leave it out"),
        ("--per_token {x}", "per_token is for --text: leave it out"),
        ("--text", "expected at least one argument"),
    ],
)
def test_impossible_texts(runs, own, tmp_path, flags, part):
    (tmp_path / "empty.txt").touch()
    names = {"own": own, "empty": tmp_path / "empty.txt", "x": tmp_path / "x", "folder": tmp_path}
    flags = [word.format(**names) for word in flags.split()]
    before = sorted(tmp_path.iterdir())
    refused = run(evaluation.main, "--work_dir", runs("rmt"), *flags)
    assert part in assert_one_sentence(refused)
    assert refused.out == "", "before anything is scored"
    assert sorted(tmp_path.iterdir()) == before, "nothing written"
    assert own.read_text() == OWN


def test_several_processes_are_refused(runs, own, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    refused = run(evaluation.main, "--work_dir", runs("rmt"), "--text", own)
    assert "2 were started: call python -m rmt.eval without" in assert_one_sentence(refused)


def test_a_late_error_leaves_no_half_a_file(runs, own, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    prepared = prepare_text(
        EvalConfig(text=(str(own),), per_token=str(tmp_path / "x")), runs("rmt"), {}
    )
    monkeypatch.setattr(type(prepared.run.model), "forward", fail)
    with pytest.raises(MemoryError):
        list(prepared.scores())
    assert sorted(tmp_path.iterdir()) == [own]


def test_a_vocabulary_of_another_run_and_a_run_on_a_task(runs, own, tmp_path, encoded_dir):
    mixed = shutil.copytree(runs("rmt"), tmp_path / "mixed", symlinks=True)
    shutil.copy(runs("characters") / "vocabulary.json", mixed)
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", mixed, "--text", own))
    assert "symbols, the model 51, so it is another run's" in sentence
    task = "--dataset reverse --n 3 --segments 2 --batch_size 10 --train_samples 20".split()
    task += ["--valid_samples", 5, "--test_samples", 5, "--encoded_dir", encoded_dir]
    task += "--n_layer 1 --n_head 1 --d_head 4 --d_model 4 --d_inner 4 --max_step 1".split()
    folder = tmp_path / "task"
    assert run(train.main, *task, *RMT, "--work_dir", folder).status == 0
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", folder, "--text", own))
    assert "is a run on reverse, which is no text" in sentence


# A reader's memory on disk


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("cut", [2, 7, 8, 9, 16, 18])
@pytest.mark.parametrize("name", MODELS)
def test_a_text_in_two_parts_costs_what_it_costs_in_one(runs, tmp_path, name, cut):
    """The second part goes on from what the first left on disk: every token is scored once."""
    words = OWN.replace("\n", " ").split()
    whole, first, second = (tmp_path / f"{part}.txt" for part in ("whole", "first", "second"))
    # The line that ends the first part ends there in the whole text, too.
    first.write_text(" ".join(words[: cut - 1]) + "\n")
    second.write_text(" ".join(words[cut - 1 :]) + "\n")
    whole.write_text(first.read_text() + second.read_text())
    states = [tmp_path / f"{part}.state" for part in ("one", "two")]
    rows = {}
    for part, state in ((whole, "one"), (first, "first"), (second, "two")):
        flags = ["--text", part, "--per_token", tmp_path / "rows"]
        flags += ["--state_out", tmp_path / f"{state}.state"]
        flags += ["--state_in", tmp_path / "first.state"] if part is second else []
        score(runs(name), *flags)
        rows[state] = rows_of(tmp_path / "rows")
    assert [row["position"] for row in rows["two"]] == list(range(len(words) - cut + 2))
    parts = rows["first"] + rows["two"]
    assert [row["token"] for row in parts] == [row["token"] for row in rows["one"]]
    expected = [row["nats"] for row in rows["one"]]
    assert [row["nats"] for row in parts] == pytest.approx(expected, abs=1e-5)
    assert states[0].read_bytes() == states[1].read_bytes(), "as if it had never stopped"


def test_a_state_of_eval_is_that_of_read(runs, own, tmp_path):
    model = load(runs("rmt"))
    score(runs("rmt"), "--text", own, "--state_out", tmp_path / "kept.state")
    kept = rmt.StreamState.load(tmp_path / "kept.state", model)
    expected = rmt.read(model, ids_of(OWN, model.vocabulary))
    assert torch.equal(kept.open_tokens, expected.open_tokens)
    for name, tensor in expected.before.tensors().items():
        torch.testing.assert_close(kept.before.tensors()[name], tensor)
    flags = ["--text", own, "--state_in", tmp_path / "kept.state", "--tgt_len", 5]
    refused = run(evaluation.main, "--work_dir", runs("rmt"), *flags)
    assert "was read in segments of 8 tokens" in assert_one_sentence(refused)


def test_a_blank_text_after_a_state_is_nothing_to_score(runs, own, tmp_path):
    folder, blank = runs("characters"), tmp_path / "blank.txt"
    blank.write_bytes(b"\xef\xbb\xbf")  # the mark that some editors put before UTF-8
    own.write_text("the cat")
    score(folder, "--text", own, "--state_out", tmp_path / "kept.state")
    flags = ["--text", blank, "--state_in", tmp_path / "kept.state"]
    refused = run(evaluation.main, "--work_dir", folder, *flags)
    assert "blank.txt holds no token: there is nothing to" in assert_one_sentence(refused)


def test_texts_of_odd_names_and_from_pipes(runs, own, tmp_path):
    """A name that is no UTF-8, and what a shell makes of <(command)."""
    odd = tmp_path / os.fsdecode(b"own-\xff.txt")
    odd.write_text(OWN)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rows = {}
    for name in (own, odd, pipe):
        feed = threading.Thread(target=pipe.write_text, args=(OWN,)) if name is pipe else None
        if feed:
            feed.start()
        score(runs("rmt"), "--text", name, "--per_token", tmp_path / "rows")
        if feed:
            feed.join()
        found = rows_of(tmp_path / "rows")
        assert {row.pop("file") for row in found} == {str(name)}
        rows[name] = found
    assert rows[own] == rows[odd] == rows[pipe]


# Any flags

FLAGS = {
    "json": (["scores"], ["nowhere/scores"]),
    "per_token": (["rows"], ["nowhere/rows"]),
    "state_in": (["kept"], ["nowhere", "short"]),
    "state_out": (["new"], ["nowhere/new", "."]),
    "unk": ([True], []),
    "checkpoint": (["best", "last"], ["first"]),
    "protocol": (["train", "txl"], ["other"]),
    "tgt_len": ([1, 5, 8, 100], [-1]),
    "batch_size": ([1, 2], [50, -1]),
    "max_eval_steps": ([1, 3, -1], [0]),
    "mem_len": ([2, 8], [0, -1, 3]),
    "clamp_len": ([-1, 4], [0]),
    "same_length": ([True], []),
    "precision": (["fp32", "bf16"], ["fp16"]),
    "split": ([], ["test"]),
    "data": ([], ["short"]),
    "cuda": ([], [True]),
}
TEXTS = ["own", "own", "own other", "strange", "short", "nowhere", "own nowhere"]
N_GOOD_TEXTS = 3


@st.composite
def random_flags(draw) -> list[str]:
    """Three times in four of values that are allowed each by itself."""
    careful = draw(st.integers(0, 3)) > 0
    names = draw(st.lists(st.sampled_from(list(FLAGS)), max_size=4, unique=True))
    texts = draw(st.sampled_from(TEXTS[:N_GOOD_TEXTS] if careful else TEXTS))
    words = ["--text", *texts.split()]
    for name in names:
        good, bad = FLAGS[name]
        if values := good if careful else good + bad:
            value = draw(st.sampled_from(values))
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def test_any_flags(runs, tmp_path):
    """They work, or end with one sentence, and then nothing is printed or written."""
    given_files = tmp_path / "given"
    given_files.mkdir()
    contents = {"own": OWN, "other": "w1 w2\n" * 9, "strange": "dog", "short": ""}
    for name, content in contents.items():
        (given_files / name).write_text(content)
    score(runs("rmt"), "--text", given_files / "own", "--state_out", given_files / "kept")
    seen = {"worked": 0, "refused": 0}

    @settings(max_examples=200)
    @given(name=st.sampled_from(["rmt", "rmt", "trxl", "gru", "own words"]), flags=random_flags())
    def check(name, flags):
        with tempfile.TemporaryDirectory() as place:
            folder = shutil.copytree(given_files, Path(place) / "here")
            with contextlib.chdir(folder):
                outcome = run(evaluation.main, "--work_dir", runs(name), *flags)
            new = {path.name for path in folder.iterdir()} - {p.name for p in given_files.iterdir()}
        if outcome.status:
            assert_one_sentence(outcome)
            assert (new, outcome.out) == (set(), "")
        else:
            assert new == {"scores", "rows", "new"} & set(flags)
        seen["refused" if outcome.status else "worked"] += 1

    check()
    assert min(seen.values()) > 60, seen
