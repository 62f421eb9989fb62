"""Facts in a long text, and stories in one, as runs: trained, scored at other lengths, shown."""

import json

import pytest
import torch

from helpers.pretrained import OF_GPT2, write_tokenizer
from helpers.programs import assert_one_sentence, records, result, run
from rmt import eval as evaluation
from rmt import figures, tables, train
from rmt.runs import trained as trained_runs

SIZES = "--n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 8".split()
DETECT = "--dataset facts --kind detect".split()
FLAGS = "--mem_len 2 --tgt_len 32 --sample_len 100 --curriculum -1"
FEW = "--train_samples 64 --valid_samples 6 --test_samples 5 --batch_size 4 --max_step 4"
N_TOKENS = 280  # of the tokenizer; the backbone has more words
TRAINING = [*FLAGS.split(), *FEW.split(), "--log_interval", "1"]


def trained(folder, *flags, task=DETECT):
    outcome = run(train.main, *task, *TRAINING, *flags, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    return folder


def scored(folder, sample_len, file, *more):
    flags = f"--split test --sample_len {sample_len} --test_samples 3 --json".split()
    outcome = run(evaluation.main, "--work_dir", folder, *flags, file, *more)
    assert outcome.status == 0, outcome.err
    return json.loads(file.read_text())


@pytest.mark.parametrize("model", ["rmt", "armt", "trxl", "baseline"])
def test_any_model_is_trained_and_scored_beyond(model, tmp_path):
    without = ["--mem_len", "0"] if model == "baseline" else []
    without += ["--bptt_unrolls", "0"] if model in ("baseline", "trxl") else []
    folder = trained(tmp_path / "run", "--model", model, *SIZES, *without)
    made = result(folder)
    assert (made["segments"], made["kind"], made["tokenizer"]) == (4, "detect", "word")
    files = [tmp_path / "300.json", tmp_path / "1000.json"]
    for file in files:
        found = scored(folder, int(file.stem), file)
        assert (found["protocol"]["tgt_len"], found["scores"][0]["n_samples"]) == (32, 3)
    shown = run(tables.main, "babilong", *files).out
    assert shown.startswith("| questions | 300 | 1,000 |\n| --- | ---: | ---: |\n| detect | ")
    assert "facts, detect, 100 tokens" in run(tables.main, "tasks", folder).out
    out = tmp_path / "size.png"
    assert run(figures.main, "size", folder, "--out", out).status == 0


@pytest.mark.parametrize("model", ["rmt", "armt"])
def test_stories_are_trained_on_and_scored_without_a_text_and_in_longer_ones(model, tmp_path):
    task = "--dataset babilong --questions two".split()
    folder = trained(tmp_path / "run", "--model", model, *SIZES, task=task)
    made = result(folder)
    assert (made["segments"], made["questions"], made["noise"]) == (4, "two", True)
    files = [tmp_path / f"{sample_len}.json" for sample_len in (90, 300, 1000)]
    for file, more in zip(files, (["--no_noise"], [], []), strict=True):
        found = scored(folder, int(file.stem), file, *more)
        assert found["samples"]["noise"] == (not more)
        assert (found["protocol"]["tgt_len"], found["scores"][0]["n_samples"]) == (32, 3)
    shown = run(tables.main, "babilong", *files).out
    assert shown.startswith(
        "| questions | 90 | 300 | 1,000 |\n| --- | ---: | ---: | ---: |\n| two | "
    )
    assert "babilong two, 100 tokens" in run(tables.main, "tasks", folder).out
    out = tmp_path / "map.png"
    assert run(figures.main, "babilong", *files, "--out", out).status == 0


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A folder with a random GPT-2 and a tokenizer whose tokens tell the rooms apart."""
    transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
    folder = tmp_path_factory.mktemp("backbone")
    write_tokenizer(folder, " attic cellar garden library porch workshop walks" * 9, N_TOKENS)
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=320, bos_token_id=0, eos_token_id=0, **OF_GPT2)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_pretrained_model_is_trained_on_its_own_tokens(backbone, tmp_path):
    flags = ["--backbone", backbone, "--tokenizer", f"hf:{backbone}", "--sample_len", "160"]
    folder = trained(tmp_path / "run", *flags)
    made = result(folder)
    assert (made["model"], made["n_token"], made["segments"]) == ("pretrained", N_TOKENS, 5)
    assert all(entry["loss"] < 20 for entry in records(folder, "train"))
    # As made with the copy that the run keeps.
    tokenizer = scored(folder, 500, tmp_path / "far.json")["samples"]["tokenizer"]
    assert tokenizer == f"hf:{folder / 'kept'}"


def test_wrong_use(backbone, tmp_path):
    def sentence(*flags):
        outcome = run(train.main, *DETECT, *TRAINING, *flags, "--work_dir", tmp_path / "new")
        assert not (tmp_path / "new").exists()
        return assert_one_sentence(outcome)

    assert "use the backbone's tokenizer" in sentence("--backbone", backbone)
    own = ["--model", "rmt", *SIZES]
    assert "tokenizer must be word or hf:FOLDER" in sentence(*own, "--tokenizer", "char")
    assert "--kind" in sentence(*own, "--kind", "forget")
    other = sentence(*own, "--dataset", "babilong")
    assert other == "kind means nothing to dataset babilong: leave it out"


def test_a_background_is_found_from_another_folder(tmp_path, monkeypatch):
    """It is recorded relative to the project, not to where the run was made."""
    (tmp_path / "sub").mkdir()
    sentence = "It was a quiet day, and nobody came by until late in the evening. "
    (tmp_path / "sub" / "own.txt").write_text(sentence * 50)
    monkeypatch.chdir(tmp_path / "sub")
    trained("runs/own", "--model", "rmt", *SIZES, "--background", "own.txt")
    monkeypatch.chdir(tmp_path)
    scores = scored("sub/runs/own", 100, tmp_path / "scores.json")
    assert scores["samples"]["background"].endswith("own.txt")
    # It is found by this path, too.
    monkeypatch.setattr(trained_runs, "project_root", lambda: tmp_path / "sub")
    chosen = run(evaluation.main, "--background", "sub/own.txt", "--split", "test")
    assert chosen.status == 0, chosen.err
    assert_one_sentence(run(evaluation.main, "--background", "own.txt"))
