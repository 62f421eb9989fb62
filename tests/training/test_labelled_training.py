"""Texts with labels are trained on, continued, scored and shown like any other data."""

import json
import shutil

import pytest
import torch

from helpers.labelled import texts, write_encoder, write_lines
from helpers.programs import (
    ARMT,
    RMT,
    TRXL,
    assert_one_sentence,
    killed_before_step,
    records,
    result,
    run,
    run_process,
    weights_of,
)
from rmt import eval as evaluation
from rmt import figures, generate, tables, train
from rmt.data.labelled.samples import TextReader
from rmt.runs.trained import load

SHORT = "--tgt_len 8 --batch_size 6 --eval_batch_size 5 --max_step 6 --log_interval 1".split()
SIZES = "--n_layer 2 --n_head 2 --d_head 4 --d_model 8 --d_inner 16 --tokenizer word".split()
ENCODER = "--model encoder --mem_len 2".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    write_lines(folder / "texts.jsonl", texts(60))
    return folder


@pytest.fixture(scope="module")
def flags(place):
    data = ["--dataset", "classify", "--data", place / "texts.jsonl"]
    how = "--lr 0.01 --scheduler constant --folds 5".split()
    return [*data, "--encoded_dir", place / "encoded", *SHORT, *how]


@pytest.fixture(scope="module")
def bert(place):
    folder = write_encoder(place / "bert")
    return [*ENCODER, "--backbone", folder, "--tokenizer", f"hf:{folder}"]


def trained(folder, *flags):
    outcome = run(train.main, *flags, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    return folder


def assert_same_end(folder, other):
    first, second = weights_of(folder), weights_of(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert result(folder)["test_loss"] == result(other)["test_loss"]
    losses = [[e["loss"] for e in records(each, "train", "valid")] for each in (folder, other)]
    assert losses[0] == losses[1]


def test_an_encoder_is_trained_scored_and_has_a_row(flags, bert, tmp_path):
    folder = trained(tmp_path / "run", *flags, *bert, "--max_step", 60, "--eval_interval", 20)
    losses = [entry["loss"] for entry in records(folder, "train")]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    made = result(folder)
    assert (made["train_texts"], made["valid_texts"], made["test_texts"]) == (36, 12, 12)
    assert (made["segments"], made["labels"]) == (4, ["false", "true"])
    assert (made["n_carried"], made["carries_gradient"]) == (32, True)
    scored = run(evaluation.main, "--work_dir", folder, "--split", "test", "--json", tmp_path / "x")
    assert f"F1 {made['test_f1']:.4f} | accuracy {made['test_acc']:.4f}" in scored.out
    (scores,) = json.loads((tmp_path / "x").read_text())["scores"]
    assert scores["loss"] == pytest.approx(made["test_loss"], abs=1e-6)
    row = run(tables.main, "labels", folder, "--without_speed").out.splitlines()[-1]
    assert row.startswith(f"| bert encoder | all | 2 | {made['test_f1']:.3f} |"), row
    assert len(load(folder).vocabulary) == made["n_token"]


@pytest.mark.parametrize(
    "how",
    [
        "",
        "--bptt_unrolls 1",
        "--checkpoint_segments --batch_chunk 2 --max_segments 2",
        "--curriculum_segments 1 2 4 --curriculum_steps 2 2",
        "--freeze_backbone --optim adamw --weight_decay 0.1",
        "--mem_len 0",
    ],
)
def test_it_goes_on_after_a_kill_as_if_nothing_had_been(flags, bert, tmp_path, how):
    flags = [*flags, *bert, *how.split(), *"--save_interval 3 --eval_interval 3".split()]
    whole = trained(tmp_path / "whole", *flags)
    with killed_before_step(5):
        run(train.main, *flags, "--work_dir", tmp_path / "parts")
    assert_same_end(trained(tmp_path / "parts", *flags, "--restart"), whole)


@pytest.mark.parametrize(
    "model",
    [RMT, TRXL, ARMT],
    ids=lambda model: model[1],
)
def test_models_that_begin_with_nothing_do_too(flags, tmp_path, model):
    flags = [*flags, *SIZES, *model, *"--save_interval 2 --dropout 0.1".split()]
    whole = trained(tmp_path / "whole", *flags)
    with killed_before_step(4):
        run(train.main, *flags, "--work_dir", tmp_path / "parts")
    assert_same_end(trained(tmp_path / "parts", *flags, "--restart"), whole)


def test_characters_are_read_and_rmt_learns(flags, tmp_path):
    how = [*SIZES, *RMT, *"--tokenizer char --tgt_len 40 --max_step 40 --dropout 0".split()]
    losses = [e["loss"] for e in records(trained(tmp_path, *flags, *how), "train")]
    assert losses[0] > 2
    assert losses[-1] < 0.5 * losses[0]


def test_two_processes_make_the_steps_of_one(flags, tmp_path):
    flags = [*flags, *SIZES, *RMT, *"--dropout 0 --batch_size 4 --optim sgd".split()]
    one = trained(tmp_path / "one", *flags)
    launch = ["--standalone", "--nproc_per_node=2", "--", *flags, "--work_dir", tmp_path / "two"]
    outcome = run_process("rmt.launch", *launch)
    assert outcome.status == 0, outcome.err
    first, second = weights_of(one), weights_of(tmp_path / "two")
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)
    for name in ("tokens", "test_loss", "test_f1"):
        assert result(one)[name] == pytest.approx(result(tmp_path / "two")[name], abs=1e-5)


def test_a_curriculum_reads_more_of_each_text(flags, bert, tmp_path, monkeypatch):
    real, numbers = TextReader.next, []

    def keep(reader, n):
        update = real(reader, n)
        numbers.append(len(update.segments))
        return update

    monkeypatch.setattr(TextReader, "next", keep)
    stages = "--curriculum_segments 1 2 3 --curriculum_steps 2 2".split()
    folder = trained(tmp_path, *flags, *bert, *stages)
    assert numbers == [1, 1, 2, 2, 3, 3]
    assert result(folder)["max_segments"] == 3
    row = run(tables.main, "labels", folder).out.splitlines()[-1]
    assert row.startswith("| bert encoder, BPTT-2, after 1, 2 segments | 3 | 2 |")


def test_other_numbers_of_segments_are_evaluated(flags, bert, tmp_path):
    folder = trained(tmp_path / "run", *flags, *bert, "--max_segments", 1)
    losses = []
    for n in ("1", "2", "0"):
        path = tmp_path / f"{n}.json"
        done = run(evaluation.main, "--work_dir", folder, "--max_segments", n, "--json", path)
        assert done.status == 0, done.err
        losses.append(json.loads(path.read_text())["scores"][1]["loss"])
    assert losses[0] == pytest.approx(result(folder)["test_loss"], abs=1e-6)
    assert len(set(losses)) == 3


def test_other_texts_are_evaluated(flags, tmp_path, place):
    folder = trained(tmp_path / "run", *flags, *SIZES, *RMT)
    other = str(write_lines(tmp_path / "other.jsonl", texts(9, seed=5)))
    data = ["--data", other, "--valid_data", other, "--test_data", other]
    scored = run(evaluation.main, "--work_dir", folder, *data, "--split", "test")
    assert "| test: 9 texts in " in scored.out


def test_a_split_without_texts_is_refused(flags, bert, tmp_path):
    """Also with the labels of a trained model, which need no text here."""
    first = trained(tmp_path / "first", *flags, *bert, "--max_step", 1)
    own = write_lines(tmp_path / "own.jsonl", texts(9, seed=5))
    names = [json.loads(line)["id"] for line in own.read_text().splitlines()]
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"train": names[:6], "dev": [], "test": names[6:]}))
    data = ["--data", own, "--split_file", splits]
    refused = run(
        train.main, *flags, *bert, *data, "--init_from", first, "--work_dir", tmp_path / "second"
    )
    assert "no text in the valid split" in assert_one_sentence(refused)


def test_a_run_begins_with_the_weights_of_another(flags, bert, tmp_path):
    first = trained(tmp_path / "first", *flags, *bert, "--max_segments", 1)
    more = [*flags, *bert, "--max_segments", 2, "--init_from", first, "--max_step", 1, "--lr", 0]
    second = trained(tmp_path / "second", *more)
    old, new = weights_of(first, "best"), weights_of(second)
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_it_ends_after_evaluations_that_are_no_better(flags, bert, tmp_path):
    flags = [*flags, *bert, *"--lr 0 --max_step 50 --eval_interval 2".split()]
    folder = trained(tmp_path / "plain", *flags, "--stop_after", 3)
    assert [entry["step"] for entry in records(folder, "valid")] == [2, 4, 6, 8]
    assert (result(folder)["steps"], result(folder)["best_step"]) == (8, 2)
    # Of a curriculum the last stage alone.
    stages = "--curriculum_segments 1 2 --curriculum_steps 10 --stop_after 2".split()
    folder = trained(tmp_path / "stages", *flags, *stages)
    assert result(folder)["steps"] == 14


def test_folds_share_a_row(flags, bert, tmp_path):
    for fold in (0, 1):
        for seed in (1, 2):
            name = tmp_path / f"fold{fold}-seed{seed}"
            trained(name, *flags, *bert, "--max_step", 1, "--fold", fold, "--seed", seed)
    head, _, row = run(tables.main, "labels", tmp_path, "--without_speed").out.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert dict(zip(head.strip("| ").split(" | "), cells, strict=True))["folds"] == "2"
    assert cells[5:7] == ["2", "2"]
    assert "±" in cells[3]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("--segments 2", "segments means nothing to dataset classify: leave it out"),
        ("--recipe fast", "recipe means nothing to dataset classify"),
        ("--varlen", "varlen means nothing to dataset classify"),
        ("--bptt_unrolls 1 --bptt_mode window", "of a text with a label the last segment alone"),
        ("--schedule diagonal", "schedule diagonal is not possible for dataset classify, whose"),
        ("--fold 5", "fold must be below folds, which is 5, but it is 5"),
        ("--folds 2", "folds must be 3 or more, but it is 2"),
        ("--positive maybe", "positive must be one of the labels false, true, not maybe"),
        ("--batch_size 37", "batch_size 37 is too large for 36 texts"),
        ("--pairs 3", "pairs means nothing to dataset classify: leave it out"),
        (
            "--curriculum_segments 1 2 --curriculum_steps 2 --max_segments 3",
            "curriculum_segments end with 2, but max_segments is 3: leave that out",
        ),
        ("--stop_after -1", "stop_after must be 0 or more"),
        ("--split_file none.json", "cannot read none.json: No such file"),
        ("--tgt_len 60", "the backbone has positions for 64 rows, and 60 tokens, 2 of memory"),
        ("--tokenizer char", " different tokens, the backbone's tokenizer 17 and the backbone 17"),
        ("--mem_len 80", "the backbone has positions for 64 rows, and one token and 80 of memory"),
    ],
)
def test_wrong_use(flags, bert, tmp_path, wrong, sentence):
    folder = tmp_path / "run"
    outcome = run(train.main, *flags, *bert, *wrong.split(), "--work_dir", folder)
    assert sentence in assert_one_sentence(outcome)
    assert not folder.exists()


def test_what_is_not_for_labels_says_so(flags, bert, place, tmp_path):
    folder = trained(tmp_path / "run", *flags, *bert)
    text = ["--dataset", "pydoc", "--debug", *SHORT, "--encoded_dir", place / "encoded"]
    for outcome, sentence in (
        (run(tables.main, "tasks", folder), "make its table with `rmt.tables labels`"),
        (run(tables.main, "runs", folder), "not on text: make its table with `rmt.tables labels`"),
        (run(generate.main, "--work_dir", folder, "--prompt", "a"), "there is no text"),
        (run(figures.main, "attention", "--work_dir", folder), "classify has no samples to draw"),
        (run(evaluation.main, "--work_dir", folder, "--tgt_len", 4), "tgt_len is for text"),
        (run(train.main, *text, *bert[:6]), "encoder tells labels: choose a dataset that has"),
        (run(train.main, *text, *RMT, "--folds", 3), "folds means nothing to dataset pydoc"),
    ):
        assert sentence in assert_one_sentence(outcome)


def test_a_causal_model_is_no_encoder(flags, tmp_path, place):
    transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
    folder = write_encoder(tmp_path / "gpt2")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 17}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(folder)
    own = ["--backbone", folder, "--tokenizer", f"hf:{folder}", "--debug"]
    sentence = assert_one_sentence(run(train.main, *flags, *ENCODER, *own))
    assert "holds a gpt2 model, which is no encoder" in sentence


def test_an_encoder_answers_on_facts(bert, tmp_path):
    """With labels in the place of words; scored on samples of another length, too."""
    samples = "--dataset facts --kind memorize --answer label --sample_len 100 --tgt_len 50"
    few = "--train_samples 40 --valid_samples 6 --test_samples 6 --batch_size 4 --max_step 3"
    folder = trained(tmp_path / "run", *samples.split(), *few.split(), "--curriculum", -1, *bert)
    assert 0 <= result(folder)["test_acc"] <= 1
    assert result(folder)["segments"] == 2
    longer = run(evaluation.main, "--work_dir", folder, "--sample_len", 200, "--split", "test")
    assert longer.status == 0, longer.err


@pytest.mark.parametrize("how", ["--mem_len 2", "--mem_len 0 --freeze_backbone"])
def test_an_encoder_is_of_use_where_its_backbone_is_gone(flags, place, tmp_path, how):
    moved = write_encoder(tmp_path / "bert")
    bert = [*ENCODER, "--backbone", moved, "--tokenizer", f"hf:{moved}"]
    folder = trained(tmp_path / "run", *flags, *bert, *how.split())
    before = load(folder)
    shutil.rmtree(moved)
    scored = run(evaluation.main, "--work_dir", folder, "--split", "test")
    assert f"F1 {result(folder)['test_f1']:.4f}" in scored.out, scored.err
    assert load(folder).config == before.config
    ids = torch.arange(12).view(2, 6)
    assert torch.equal(load(folder).predict(ids)[0], before.predict(ids)[0])
