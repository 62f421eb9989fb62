"""Scores: of finished runs by rmt.eval, of a model by evaluate."""

import json
import math
import os
import re
import shutil

import pytest
import torch

from helpers.programs import (
    RMT,
    TRXL,
    assert_one_sentence,
    records,
    result,
    run,
    run_process,
    trained_when_asked,
)
from rmt import eval as evaluation
from rmt import train
from rmt.data.batches import SegmentBatches
from rmt.data.metrics import BITS_PER_CHARACTER, PERPLEXITY, bits_per_character, perplexity
from rmt.evaluation.scores import Scoring
from rmt.evaluation.scoring import choose_protocol
from rmt.evaluation.text import Protocol, evaluate, in_train_protocol
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options.evaluation import EvalConfig
from rmt.options.training import TrainConfig
from rmt.runs import trained
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError

TRXL_RMT = [*RMT, "--model", "trxl_rmt", "--cache_len", "6"]


@pytest.fixture(scope="module")
def runs(tiny, text_file, encoded_dir, tmp_path_factory):
    """Folders of finished runs, by name, made when first asked for."""
    text = ["--dataset", "text", "--data", text_file, "--encoded_dir", encoded_dir]
    flags = {
        "rmt": RMT,
        "trxl": [*TRXL, "--init_std", "0.3"],  # so large that every length makes a difference
        "trxl_rmt": TRXL_RMT,
        "baseline": ["--model", "baseline"],
        "trxl without cache": ["--model", "trxl"],
        "characters": [*RMT, *text],
        "other lengths": [*TRXL, "--eval_tgt_len", "4", "--precision", "bf16"],
    }
    return trained_when_asked(
        {name: [*tiny, *own] for name, own in flags.items()}, tmp_path_factory
    )


def score(work_dir, *flags: object) -> str:
    """What rmt.eval printed; nothing in the run folder may change."""
    before = sorted((p, p.stat().st_mtime_ns) for p in work_dir.rglob("*"))
    outcome = run(evaluation.main, "--work_dir", work_dir, *flags)
    assert (outcome.status, outcome.err) == (0, "")
    assert sorted((p, p.stat().st_mtime_ns) for p in work_dir.rglob("*")) == before
    return outcome.out


def protocol_of(out: str) -> str:
    return out.splitlines()[1].removeprefix("| ")


def scores_of(out: str) -> list[str]:
    """The words of the line between the rules."""
    return out.splitlines()[-2].replace("|", "").split()


# rmt.eval


@pytest.mark.parametrize("name", ["rmt", "trxl", "trxl_rmt", "baseline", "other lengths"])
def test_eval_prints_the_score_of_training(runs, name):
    folder = runs(name)
    log = (folder / "log.txt").read_text()
    test_score = log.split("End of training | test ")[1].splitlines()[0]
    out = score(folder)
    assert f"test {test_score}" in out
    assert f"ppl {result(folder)['test_ppl']:9.3f}" in out
    assert f"valid {PERPLEXITY.readable(records(folder, 'valid')[-1]['loss'])}" in out


def test_bits_per_character_of_characters(runs):
    folder = runs("characters")
    loss = result(folder)["test_loss"]
    assert result(folder)["test_bpc"] == pytest.approx(loss / math.log(2))
    assert f"test loss {loss:5.2f} | bpc {loss / math.log(2):9.5f}" in score(folder)


def test_as_a_program(runs):
    out = run_process("rmt.eval", "--work_dir", runs("rmt"))
    assert out.status == 0, out.err
    assert out.out.splitlines()[-2] == score(runs("rmt")).splitlines()[-2]


def test_one_split(runs):
    both = scores_of(score(runs("trxl")))
    for i, split in enumerate(("valid", "test")):
        half = both[i * 5 : i * 5 + 5]
        assert half[0] == split
        assert scores_of(score(runs("trxl"), "--split", split)) == half


def test_lengths_can_be_chosen(runs):
    plain = score(runs("trxl"))
    assert protocol_of(plain) == "tgt_len 8, batch_size 2, mem_len 8"
    for flags, protocol in (
        ("--tgt_len 5", "tgt_len 5, batch_size 2, mem_len 8"),
        ("--mem_len 20", "tgt_len 8, batch_size 2, mem_len 20"),
        ("--mem_len 0", "tgt_len 8, batch_size 2, mem_len 0"),
        ("--batch_size 3", "tgt_len 8, batch_size 3, mem_len 8"),
        ("--same_length", "tgt_len 8, batch_size 2, mem_len 8, same_length True"),
        ("--clamp_len 4", "tgt_len 8, batch_size 2, mem_len 8, clamp_len 4"),
    ):
        out = score(runs("trxl"), *flags.split())
        assert protocol_of(out) == protocol
        assert scores_of(out) != scores_of(plain), f"{flags} makes a difference"
    assert protocol_of(score(runs("trxl"), "--mem_len", 8)) == protocol_of(plain)


def test_the_cache_in_training_keeps_the_context(runs):
    """12 = mem_len 8 + tgt_len 8 - eval_tgt_len 4; a mem_len that is given counts as it is."""
    out = score(runs("other lengths"))
    assert protocol_of(out) == "tgt_len 4, batch_size 2, mem_len 12"
    out = score(runs("other lengths"), "--mem_len", 8)
    assert protocol_of(out) == "tgt_len 4, batch_size 2, mem_len 8"


def test_a_cache_can_be_given_where_training_had_none(runs):
    out = score(runs("trxl without cache"), "--mem_len", 6)
    assert protocol_of(out) == "tgt_len 8, batch_size 2, mem_len 6"


def test_the_cache_of_trxl_rmt_is_free_and_its_memory_is_not(runs):
    assert protocol_of(score(runs("trxl_rmt"))) == "tgt_len 8, batch_size 2, cache_len 6"
    for length in (0, 2, 9):
        out = score(runs("trxl_rmt"), "--cache_len", length, "--mem_len", 2)
        assert protocol_of(out) == f"tgt_len 8, batch_size 2, cache_len {length}"
    refused = run(evaluation.main, "--work_dir", runs("trxl_rmt"), "--mem_len", 3)
    assert "trained with mem_len 2, which its weights depend on" in assert_one_sentence(refused)
    refused = run(evaluation.main, "--work_dir", runs("trxl"), "--cache_len", 3)
    assert "cache_len belongs to trxl_rmt; for trxl leave it out" in assert_one_sentence(refused)


def test_max_eval_steps(runs):
    out = score(runs("rmt"), "--max_eval_steps", 2)
    assert "| test: 32 tokens" in out
    assert "| test: 32 tokens" not in score(runs("rmt"))


@pytest.mark.parametrize(
    ("name", "flags", "part"),
    [
        ("rmt", "--mem_len 5", "trained with mem_len 2, which its weights depend on"),
        ("rmt", "--mem_len 0", "trained with mem_len 2, which its weights depend on"),
        ("baseline", "--mem_len 5", "the baseline has no memory: leave out mem_len 5"),
        ("rmt", "--same_length", "same_length needs cached states"),
        ("trxl", "--mem_len 0 --same_length", "same_length needs cached states"),
        ("rmt", "--protocol txl", "protocol txl is for models with a cache"),
        ("characters", "--protocol txl", "protocol txl is for models with a cache"),
        ("rmt", "--tgt_len 5000", "tgt_len 5000 is longer than the data allows"),
        ("rmt", "--batch_size 5000", "batch_size 5000 is too large"),
        ("rmt", "--precision fp16", "precision fp16 needs --cuda"),
        ("rmt", "--clamp_len -2", "clamp_len must be -1 (no limit) or positive"),
        ("rmt", "--max_eval_steps 0", "max_eval_steps must be -1 (no limit) or positive"),
        ("rmt", "--data nowhere", "there is no wt103 data at nowhere"),
    ],
)
def test_impossible_evaluations(runs, name, flags, part):
    outcome = run(evaluation.main, "--work_dir", runs(name), *flags.split())
    assert part in assert_one_sentence(outcome)
    assert outcome.out == ""


def test_the_published_lengths_of_transformer_xl():
    config = EvalConfig(protocol="txl")
    for dataset, d_model, lengths in (
        ("wt103", 410, (64, 640, 400)),
        ("wt103", 1024, (128, 1600, 1000)),
        ("enwik8", 512, (80, 2100, 820)),
        ("enwik8", 1024, (128, 3800, 1000)),
        ("text8", 512, (80, 2100, 820)),
        ("text8", 1024, (128, 3800, 1000)),
    ):
        for model, option in (("trxl", "mem_len"), ("trxl_rmt", "cache_len")):
            about = {"model": model, "d_model": d_model, "mem_len": 10}
            about |= {"cache_len": 10} if model == "trxl_rmt" else {}
            settings = Settings.of({**about, "dataset": dataset})
            chosen = choose_protocol(config, settings, settings.model(10), {})
            tgt_len, cache_len, clamp_len = lengths
            assert chosen.tgt_len == tgt_len
            assert chosen.lengths == {
                option: cache_len,
                "clamp_len": clamp_len,
                "same_length": True,
            }


def test_txl_lengths_can_be_changed_one_by_one(runs):
    flags = ["--protocol", "txl", "--tgt_len", 8, "--mem_len", 8]
    out = score(runs("trxl"), *flags)
    lengths = "mem_len 8, clamp_len 400, same_length True"
    assert protocol_of(out) == f"tgt_len 8, batch_size 2, {lengths}"


def test_best_and_last(tiny, tmp_path):
    """Training whose later steps ruin what was learned."""
    flags = [*tiny, *RMT, "--work_dir", tmp_path, "--scheduler", "constant"]
    run(train.main, *flags, "--max_step", 2)
    run(train.main, *flags, "--max_step", 4, "--restart", "--lr", 30)
    best, last = score(tmp_path), score(tmp_path, "--checkpoint", "last")
    assert ("step 2" in best.splitlines()[0], "step 4" in last.splitlines()[0]) == (True, True)
    losses = [entry["loss"] for entry in records(tmp_path, "valid")]
    assert losses[0] < losses[1]
    assert scores_of(best)[2] == f"{losses[0]:.2f}"
    assert scores_of(last)[2] == f"{losses[1]:.2f}"
    assert result(tmp_path)["best_step"] == 2


def test_a_damaged_best_is_named(runs, tmp_path):
    folder = shutil.copytree(runs("rmt"), tmp_path / "run", symlinks=True)
    (folder / "best" / "model.safetensors").write_bytes(b"damaged")
    outcome = run(evaluation.main, "--work_dir", folder)
    sentence = assert_one_sentence(outcome)
    assert "is damaged (step-00000004: model.safetensors has changed): train again" in sentence


def test_another_text_is_refused_and_a_copy_is_not(runs, corpus_folder, tmp_path):
    other = shutil.copytree(corpus_folder, tmp_path / "other")
    flags = ["--data", other, "--encoded_dir", tmp_path]
    assert scores_of(score(runs("rmt"), "--data", other)) == scores_of(score(runs("rmt")))
    (other / "test.txt").write_text("w1 w2 w3\n" * 50)
    outcome = run(evaluation.main, "--work_dir", runs("rmt"), *flags)
    assert outcome.status == 0, "its vocabulary is that of the training text, which is the same"
    first = scores_of(outcome.out)[-1]
    (other / "train.txt").write_text("w2 w1 w3\n" * 50)
    (other / "valid.txt").write_text("w1 w2 w3\n" * 50)
    outcome = run(evaluation.main, "--work_dir", runs("rmt"), *flags)
    assert scores_of(outcome.out)[-1] == first, "whatever vocabulary the text would make"
    (other / "test.txt").write_text("w1 w2 w3\nw1 zebra\n" * 50)
    outcome = run(evaluation.main, "--work_dir", runs("rmt"), *flags)
    sentence = f"{other}/test.txt, line 2: the word 'zebra' is not in the vocabulary of "
    assert assert_one_sentence(outcome).startswith(sentence)
    (other / "test.txt").write_text("w1 w2 w3\n" * 50)
    older = shutil.copytree(runs("rmt"), tmp_path / "older", symlinks=True)
    (older / "vocabulary.json").unlink()
    outcome = run(evaluation.main, "--work_dir", older, *flags)
    assert "its folder holds no vocabulary to compare with" in assert_one_sentence(outcome)


# Which run


@pytest.fixture
def project(tmp_path, monkeypatch, runs):
    """A project whose runs are copies, of which the last is the newest."""
    monkeypatch.setattr(trained, "project_root", lambda: tmp_path)
    for i, name in enumerate(("rmt", "trxl", "characters", "trxl_rmt")):
        folder = shutil.copytree(runs(name), tmp_path / "runs" / name, symlinks=True)
        for path in (folder / "checkpoints").iterdir():
            os.utime(path, (1000 + i, 1000 + i))
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("", "trxl_rmt"),
        ("--model trxl", "trxl"),
        ("--model rmt", "characters"),
        ("--model rmt --dataset wt103", "rmt"),
        ("--model rmt --mem_len 2", "characters"),
        ("--mem_len 4", "trxl"),
        ("--model trxl_rmt --mem_len 2 --cache_len 3", "trxl_rmt"),
        ("--dataset text", "characters"),
        ("--seed 1111 --bptt_unrolls 0", "trxl_rmt"),
    ],
)
def test_the_newest_run_that_fits(project, flags, name):
    outcome = run(evaluation.main, *flags.split())
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(f"| {project}/runs/{name}/checkpoints/step-00000004, step 4\n")


@pytest.mark.parametrize(
    "flags",
    [
        *("--model baseline", "--seed 2", "--bptt_unrolls 1", "--model rmt --mem_len 3"),
        "--bptt_unrolls -1",  # all of a sample's, not any
    ],
)
def test_no_run_fits(project, flags):
    sentence = assert_one_sentence(run(evaluation.main, *flags.split()))
    assert f"no run in {project}/runs fits" in sentence


@pytest.mark.parametrize("flags", ["--model trxl", "--dataset enwik8", "--seed 2"])
def test_a_run_that_is_named_is_what_the_flags_say(runs, flags):
    """Else a script for RMT would report the score of a Transformer-XL as RMT's."""
    fitting = "--model rmt --dataset wt103 --seed 1111".split()
    assert run(evaluation.main, "--work_dir", runs("rmt"), *fitting).status == 0
    sentence = assert_one_sentence(run(evaluation.main, "--work_dir", runs("rmt"), *flags.split()))
    name, value = flags.removeprefix("--").split()
    assert re.search(f" has {name} [^ ]+, not {value}: leave out {name}", sentence)


def test_runs_without_a_checkpoint_are_passed_over(project):
    shutil.rmtree(project / "runs" / "trxl_rmt" / "checkpoints")
    (project / "runs" / "characters" / "config.json").write_text("{")
    (project / "runs" / "trxl" / "config.json").write_text(json.dumps([]))
    assert "/runs/rmt/" in run(evaluation.main).out


# evaluate()


def tiny_model(**changes) -> MemTransformerLM:
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 16, "init_std": 0.3}
    config = ModelConfig(n_token=20, **sizes, **changes)
    return MemTransformerLM(config).double()


MODELS = [
    {"model": "baseline"},
    {"model": "rmt", "mem_len": 2, "dropout": 0.5},
    {"model": "trxl", "mem_len": 6},
    {"model": "trxl_rmt", "mem_len": 2, "cache_len": 4, "cutoffs": (5, 12)},
]


@pytest.mark.parametrize("changes", MODELS, ids=lambda changes: changes["model"])
@pytest.mark.parametrize("n", [50, 57, 60])
def test_every_token_counts_once(changes, n):
    """Against predictions one segment at a time; the last segment is shorter."""
    model = tiny_model(**changes)
    ids = torch.randint(20, (n,), generator=torch.Generator().manual_seed(1)).numpy()
    loss, n_tokens = evaluate(model, ids, Protocol(7, 3, {}))
    length = n // 3
    assert n_tokens == 3 * (length - 1)

    model.eval()
    log_probs = []
    for stream in range(3):
        tokens = torch.from_numpy(ids[stream * length : (stream + 1) * length])[None]
        state = None
        with torch.no_grad():
            for start in range(0, length - 1, 7):
                end = min(start + 7, length - 1)
                predicted, state = model.predict(tokens[:, start:end], state)
                targets = tokens[:, start + 1 : end + 1]
                log_probs += predicted.gather(2, targets[..., None]).flatten().tolist()
    assert len(log_probs) == n_tokens
    assert loss == pytest.approx(-sum(log_probs) / len(log_probs), rel=1e-9)


def test_evaluate_leaves_the_model_as_it_was():
    model = tiny_model(model="trxl", mem_len=6, dropout=0.5)
    ids = torch.randint(20, (50,)).numpy()
    for training in (True, False):
        model.train(training)
        random = torch.get_rng_state()
        first = evaluate(model, ids, Protocol(7, 3, {"mem_len": 3}))
        assert evaluate(model, ids, Protocol(7, 3, {"mem_len": 3})) == first, "no dropout"
        assert all(module.training == training for module in model.modules())
        assert model.config.mem_len == 6
        assert torch.equal(torch.get_rng_state(), random)
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_it_is_computed_in_the_precision_that_is_asked_for(precision, dtype):
    model, seen = tiny_model(model="rmt", mem_len=2).float(), set()
    model.layers[0].attention.query.register_forward_hook(lambda _, args, out: seen.add(out.dtype))
    ids = torch.randint(20, (50,)).numpy()
    evaluate(model, ids, Protocol(7, 3, {}), how=Scoring(precision=precision))
    assert seen == {dtype}


def test_a_part_of_the_segments():
    model = tiny_model(model="rmt", mem_len=2)
    ids = torch.randint(20, (100,)).numpy()
    part = evaluate(model, ids, Protocol(7, 4, {}, max_segments=2))
    streams = SegmentBatches(ids, 4, 7).columns[:, :15]
    assert part == evaluate(model, streams.reshape(-1), Protocol(7, 4, {}))
    everything = evaluate(model, ids, Protocol(7, 4, {}))
    assert evaluate(model, ids, Protocol(7, 4, {}, max_segments=99)) == everything


def test_units():
    assert perplexity(math.log(20)) == pytest.approx(20)
    assert perplexity(1e6) == math.inf
    assert math.isnan(perplexity(math.nan))
    assert bits_per_character(math.log(2)) == pytest.approx(1)
    assert PERPLEXITY.readable(math.log(2)) == "loss  0.69 | ppl     2.000"
    assert BITS_PER_CHARACTER.readable(math.log(2)) == "loss  0.69 | bpc   1.00000"


@pytest.mark.parametrize(
    ("model", "train_options", "lengths"),
    [
        ({"model": "rmt", "mem_len": 10}, {"eval_tgt_len": 20}, {}),
        ({"model": "trxl", "mem_len": 10}, {}, {"mem_len": 10}),
        ({"model": "trxl", "mem_len": 10}, {"eval_tgt_len": 20}, {"mem_len": 60}),
        ({"model": "trxl", "mem_len": 10}, {"eval_tgt_len": 79}, {"mem_len": 1}),
        ({"model": "trxl_rmt", "mem_len": 3, "cache_len": 10}, {}, {"cache_len": 10}),
    ],
)
def test_the_protocol_of_training(model, train_options, lengths):
    config = TrainConfig(tgt_len=70, **train_options)
    protocol = in_train_protocol(ModelConfig(n_token=9, **model), config)
    tgt_len = train_options.get("eval_tgt_len", 70)
    assert protocol == Protocol(tgt_len, 10, lengths)


def test_a_protocol_without_its_cache_is_refused():
    model = ModelConfig(n_token=9, model="trxl", mem_len=10)
    with pytest.raises(UsageError, match="nothing of the cache of 10 would be left"):
        in_train_protocol(model, TrainConfig(tgt_len=70, eval_tgt_len=80))
