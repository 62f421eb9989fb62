"""A run that begins with the weights of another one (--init_from)."""

import json
import shutil

import pytest
import torch

import helpers.gru  # noqa: F401  registers the model
from helpers.models import tiny_model
from helpers.pretrained import wrapped
from helpers.programs import (
    RMT,
    TRXL,
    assert_one_sentence,
    killed_before_step,
    records,
    result,
    run,
    weights_of,
    write_corpus,
)
from rmt import eval as evaluation
from rmt import train
from rmt.runs import checkpoint
from rmt.runs.logged_runs import read_runs
from rmt.runs.settings import Settings
from rmt.runs.trained import read_vocabulary

BASELINE = ["--model", "baseline"]
MT = "--model mt --mem_len 2".split()
BOTH = "--model trxl_rmt --mem_len 2 --cache_len 5".split()
MODELS = {"baseline": BASELINE, "mt": MT, "trxl": TRXL, "rmt": RMT, "trxl_rmt": BOTH}
GRU = "--dataset text --model gru --d_model 8 --tgt_len 8 --batch_size 4 --max_step 4".split()
# A step that changes nothing: what a run ends with is what it began with.
AS_IT_IS = "--lr 0 --max_step 1".split()


@pytest.fixture(scope="module")
def source(tiny, tmp_path_factory):
    """The folder of a trained model, made once."""
    known = {}

    def source(*flags: str):
        if flags not in known:
            known[flags] = tmp_path_factory.mktemp("source") / "run"
            outcome = run(train.main, *tiny, *flags, "--work_dir", known[flags])
            assert outcome.status == 0, outcome.err
        return known[flags]

    return source


@pytest.fixture
def begin(tiny, tmp_path):
    """Train, beginning with another run; returns the outcome and the folder."""

    def begin(folder, *flags, name: str = "warm"):
        own = tmp_path / name
        return run(train.main, *tiny, *flags, "--init_from", folder, "--work_dir", own), own

    return begin


def refusal(begun) -> str:
    """Nothing was written."""
    outcome, own = begun
    assert not own.exists()
    return assert_one_sentence(outcome)


# What is taken


def test_a_run_begins_with_the_best_weights_at_step_0(source, begin):
    """Whatever else is different; what was taken is in the log and in the records."""
    folder = source(*RMT, *"--lr 1 --scheduler constant --eval_interval 1 --max_step 6".split())
    assert 0 < result(folder)["best_step"] < 6, "the last weights are others"
    other = "--dropout 0.1 --tgt_len 5 --batch_size 2 --bptt_unrolls 2 --optim sgd --seed 3".split()
    outcome, own = begin(folder, *RMT, *other, *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    best, mine = weights_of(folder, "best"), weights_of(own)
    assert best.keys() == mine.keys()
    assert all(torch.equal(best[name], mine[name]) for name in best)
    assert [entry["step"] for entry in records(own, "train")] == [1]
    said = json.loads((own / "config.json").read_text())["began_with"]
    assert said == result(own)["began_with"]
    assert said["step"] == result(folder)["best_step"]
    assert (said["model"], said["n_taken"], said["otherwise"]) == ("rmt", len(best), {})
    assert said["options"] == {"dropout": [0.0, 0.1]}
    line = f"(rmt, step {said['step']}): {len(best)} tensors as they are there\n"
    assert line in outcome.out
    assert "|     option dropout was 0.0 there and is 0.1 here\n" in outcome.out
    (logged,) = read_runs([own])
    assert logged.label == "rmt, memory 2, BPTT-2, from rmt"


def test_it_scores_as_the_other_one_did(source, begin):
    folder = source(*RMT)
    outcome, own = begin(folder, *RMT, *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    assert result(own)["valid_loss"] == result(folder)["valid_loss"]
    assert result(own)["test_loss"] == result(folder)["test_loss"]
    assert run(evaluation.main, "--work_dir", own).status == 0


@pytest.mark.parametrize("there", MODELS)
@pytest.mark.parametrize("here", MODELS)
def test_every_model_of_the_paper_may_begin_with_every_other(source, begin, there, here):
    """Memory that is new is that of a run that begins with nothing."""
    folder = source(*MODELS[there])
    outcome, own = begin(folder, *MODELS[here], *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    best, mine = weights_of(folder, "best"), weights_of(own)
    assert best.keys() - {"memory"} == mine.keys() - {"memory"}
    assert all(torch.equal(best[name], mine[name]) for name in mine if name in best)
    otherwise = result(own)["began_with"]["otherwise"]
    if "memory" in mine and "memory" not in best:
        assert otherwise == {"memory": f"new, {there} has none"}
        fresh = source(*MODELS[here], *AS_IT_IS)
        assert torch.equal(mine["memory"], weights_of(fresh)["memory"])
    elif "memory" in best and "memory" not in mine:
        assert otherwise == {"memory": f"left out, {here} has none"}
    else:
        assert otherwise == {}


@pytest.mark.parametrize(("n_rows", "what"), [(1, "1 of 2 rows taken"), (5, "2 rows taken, 3 new")])
@pytest.mark.parametrize("mem_init", ["distinct", "shared"])
def test_memory_may_shrink_and_grow(source, begin, n_rows, what, mem_init):
    folder = source(*RMT)
    flags = [*RMT, "--mem_len", str(n_rows), "--mem_init", mem_init, *AS_IT_IS]
    outcome, own = begin(folder, *flags)
    assert outcome.status == 0, outcome.err
    assert f"|     memory: {what}\n" in outcome.out
    before, mine = weights_of(folder, "best")["memory"], weights_of(own)["memory"]
    n_kept = min(2, n_rows)
    assert torch.equal(mine[:n_kept], before[:n_kept])
    fresh = weights_of(source(*flags))["memory"]
    assert torch.equal(mine[n_kept:], fresh[n_kept:])


def test_weights_from_gives_a_model_that_computes_the_same():
    """Of an rmt with one more row of memory, those of the other one are a part."""
    one, other = tiny_model("rmt", mem_len=2), tiny_model("rmt", seed=1, mem_len=3)
    weights, said = other.weights_from(one.state_dict(), one.config)
    assert said == {"memory": "2 rows taken, 1 new"}
    assert weights["memory"].dtype == torch.float64
    again, _ = one.weights_from(weights, other.config)
    assert all(torch.equal(again[name], tensor) for name, tensor in one.state_dict().items())


def test_any_model_begins_with_its_own_kind(text_file, encoded_dir, tmp_path):
    flags = [*GRU, "--data", text_file, "--encoded_dir", encoded_dir]
    folder, own = tmp_path / "source", tmp_path / "warm"
    assert run(train.main, *flags, "--work_dir", folder).status == 0
    begun = [*flags, "--init_from", folder, "--work_dir", own]
    assert run(train.main, *begun, *AS_IT_IS, "--bptt_unrolls", 2).status == 0
    best, mine = weights_of(folder, "best"), weights_of(own)
    assert all(torch.equal(best[name], mine[name]) for name in best | mine)
    outcome = run(train.main, *begun, "--d_model", 6, "--work_dir", tmp_path / "other")
    sentence = assert_one_sentence(outcome)
    assert "holds another model: its embedding.weight is (" in sentence
    assert "so differ gru.bias_hh_l0, gru.bias_ih_l0, gru.weight_hh_l0" in sentence
    outcome = run(train.main, *begun, *RMT, "--work_dir", tmp_path / "other")
    sentence = assert_one_sentence(outcome)
    assert "it has no content_bias, layers.*.attention.distance.weight" in sentence
    assert "there is no gru.bias_hh_l0" in sentence
    assert not (tmp_path / "other").exists()


def test_a_task_begins_with_another_one(encoded_dir, tmp_path):
    sizes = "--train_samples 40 --valid_samples 9 --test_samples 9 --n 4 --segments 2".split()
    model = "--n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 8 --batch_size 4".split()
    flags = [*sizes, *model, *RMT, "--encoded_dir", encoded_dir, *AS_IT_IS]
    folder, own = tmp_path / "copy", tmp_path / "reverse"
    assert run(train.main, "--dataset", "copy", *flags, "--work_dir", folder).status == 0
    begun = [*flags, "--init_from", folder, "--work_dir", own, "--seed", 5]
    outcome = run(train.main, "--dataset", "reverse", *begun)
    assert outcome.status == 0, outcome.err
    before, mine = weights_of(folder), weights_of(own)
    assert all(torch.equal(before[name], mine[name]) for name in before | mine)


# Another text


def test_a_text_is_read_with_the_vocabulary_of_the_other_run(source, begin, tmp_path):
    """Fewer words in another order: ids mean what they meant, and the new folder keeps them."""
    folder, other = source(*RMT), tmp_path / "other"
    other.mkdir()
    for split in ("train", "valid", "test"):
        (other / f"{split}.txt").write_text("w9 w7 w30 w7\nw9 w9 w1\n" * 20)
    outcome, own = begin(folder, *RMT, "--data", other, *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    assert read_vocabulary(own) == read_vocabulary(folder)
    assert torch.equal(weights_of(own)["embedding.weight"], weights_of(folder)["embedding.weight"])
    scored = run(evaluation.main, "--work_dir", folder, "--data", other)
    assert scored.status == 0, scored.err
    line = f"test loss {result(own)['test_loss']:5.2f}"
    assert line in scored.out
    assert line in run(evaluation.main, "--work_dir", own).out
    # A run that begins with this one has the same words, and the same encoded text.
    outcome, third = begin(own, *RMT, "--data", other, *AS_IT_IS, name="third")
    assert outcome.status == 0, outcome.err
    assert result(third)["corpus"] == result(own)["corpus"]
    assert "encoding" not in outcome.err


def test_the_text_of_the_other_run_is_the_same_corpus(source, begin):
    """So that both are compared as runs on one text."""
    outcome, own = begin(source(*RMT), *RMT, *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    assert result(own)["corpus"] == result(source(*RMT))["corpus"]


def test_a_text_of_fewer_characters(source, begin, text_file, tmp_path):
    text = ["--dataset", "text", "--data"]
    folder, other = source(*RMT, *text, text_file), tmp_path / "other.txt"
    other.write_text("the dog sat, the cat sat.\n" * 60)
    outcome, own = begin(folder, *RMT, *text, other)
    assert outcome.status == 0, outcome.err
    assert read_vocabulary(own) == read_vocabulary(folder)
    other.write_text(other.read_text() + "ß")
    sentence = refusal(begin(folder, *RMT, *text, other, name="another"))
    assert f"{other}, line 61: the character 'ß' is not in the vocabulary of {folder}" in sentence


@pytest.mark.parametrize("dataset", ["wt103", "text"])
def test_unknown_words_are_unk_where_a_text_of_ones_own_is_read(
    source, begin, corpus_folder, tmp_path, dataset
):
    """By any vocabulary that has it; in a text that is as WikiText has them they are an error."""
    words = ["--dataset", "text", "--tokenizer", "word", "--data"]
    folder, other = source(*RMT, *words, corpus_folder), tmp_path / "other"
    other.mkdir()
    for split in ("train", "valid", "test"):
        (other / f"{split}.txt").write_text("w9 zebra w30 w7\n" * 40)
    if dataset == "wt103":
        begun = begin(folder, *RMT, "--data", other)
        assert "the word 'zebra' is not in the vocabulary of" in refusal(begun)
        return
    outcome, own = begin(folder, *RMT, *words, other, *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    assert read_vocabulary(own).symbols == read_vocabulary(folder).symbols
    scored = run(evaluation.main, "--work_dir", folder, "--text", other / "test.txt", "--unk")
    assert "| 40 unknown" in scored.out


def test_the_cutoffs_of_an_adaptive_softmax_are_the_other_runs(source, begin):
    folder = source(*RMT, "--cutoffs", "20")
    outcome, own = begin(folder, *RMT, "--adaptive", *AS_IT_IS)
    assert outcome.status == 0, outcome.err
    assert Settings.read(own)[1].cutoffs == (20,)
    assert "so differ" not in outcome.out
    assert result(own)["test_loss"] == result(folder)["test_loss"]


def test_a_restart_finds_the_encoded_text_again(source, begin, tiny, text_file, tmp_path):
    """After the other run is gone, and from another folder, too."""
    text = ["--dataset", "text", "--data"]
    shutil.copytree(source(*RMT, *text, text_file), tmp_path / "source", symlinks=True)
    other = tmp_path / "other.txt"
    other.write_text("the dog sat, the cat sat.\n" * 60)
    flags = [*RMT, *text, other, *"--max_step 6 --save_interval 3".split()]
    outcome, whole = begin(tmp_path / "source", *flags, name="whole")
    assert outcome.status == 0, outcome.err
    with killed_before_step(5):
        begin(tmp_path / "source", *flags, name="stopped")
    shutil.rmtree(tmp_path / "source")
    again = [*tiny, *flags, "--restart", "--work_dir"]
    elsewhere = [*again, tmp_path / "third", "--restart_dir", tmp_path / "stopped"]
    for line in (elsewhere, [*again, tmp_path / "stopped"]):
        outcome = run(train.main, *line)
        assert (outcome.status, outcome.err) == (0, "")
    one = weights_of(whole)
    for name in ("third", "stopped"):
        other_weights = weights_of(tmp_path / name)
        assert all(torch.equal(one[key], other_weights[key]) for key in one | other_weights)
        assert read_vocabulary(tmp_path / name) == read_vocabulary(whole)


# What is refused


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--n_layer", "3"], "it has no layers.*.attention.distance.weight"),
        (["--n_layer", "1"], "there is no layers.*.attention.distance.weight"),
        (["--d_inner", "8"], "its layers.0.feed_forward.inner.bias is (16,), not (8,)"),
        (["--d_model", "6"], "its embedding.weight is (51, 8), not (51, 6); so differ layers.*"),
        (["--not_tied"], "it has no softmax_weight"),
        (["--cutoffs", "20"], "it has no softmax.cluster_bias, softmax.cluster_weight"),
    ],
)
def test_another_architecture(source, begin, flags, part):
    sentence = refusal(begin(source(*RMT), *RMT, *flags))
    assert "step-00000004 holds another model: " in sentence
    assert part in sentence


def test_symbols_that_the_vocabulary_lacks(source, begin, tmp_path):
    other = write_corpus(tmp_path / "other", seed=1)
    words = (other / "valid.txt").read_text()
    (other / "valid.txt").write_text(f"w1\nw2 more {words}")
    sentence = refusal(begin(source(*RMT), *RMT, "--data", other))
    place = f"{other}/valid.txt, line 2: the word 'more' is not in the vocabulary of "
    assert sentence == f"{place}{source(*RMT)}: take it out, or choose another text"


def test_vocabularies_of_another_kind(source, begin, text_file):
    """Of words, for characters and bytes; and the other way round."""
    folder = source(*RMT)
    for dataset, kind in (("text", "characters"), ("enwik8", "bytes"), ("text8", "bytes")):
        text = ["--dataset", dataset, "--data", text_file]
        sentence = refusal(begin(folder, *RMT, *text))
        what = f"does not fit dataset {dataset}: its '<eos>' is none of the {kind} of such a text"
        assert sentence == f"the vocabulary of {folder} {what}"
    characters = source(*RMT, "--dataset", "text", "--data", text_file)
    assert "it has no <eos>, which ends every line" in refusal(begin(characters, *RMT))


def test_a_task_of_other_symbols(source, begin, encoded_dir, tmp_path):
    sizes = "--n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 8 --batch_size 4".split()
    flags = "--dataset copy --n 4 --segments 2 --train_samples 40 --valid_samples 9".split()
    flags += [*sizes, *RMT, "--test_samples", 9, "--encoded_dir", encoded_dir]
    begun = [*flags, "--init_from", source(*RMT), "--work_dir", tmp_path / "warm"]
    sentence = assert_one_sentence(run(train.main, *begun))
    assert "is not that of the data: of its 51 symbols and the data's 10, number 0 is" in sentence
    assert not (tmp_path / "warm").exists()


def test_a_run_that_is_older_than_vocabularies(source, begin, tmp_path):
    """Its text makes it again, where it is still there."""
    old = shutil.copytree(source(*RMT), tmp_path / "old", symlinks=True)
    (old / "vocabulary.json").unlink()
    assert begin(old, *RMT)[0].status == 0
    other = write_corpus(tmp_path / "other", seed=1)
    outcome, own = begin(old, *RMT, "--data", other, name="another")
    assert outcome.status == 0, outcome.err
    assert read_vocabulary(own) == read_vocabulary(source(*RMT))
    config = json.loads((old / "config.json").read_text())
    config["train"]["data"] = "gone"
    (old / "config.json").write_text(json.dumps(config))
    sentence = refusal(begin(old, *RMT, "--data", other, name="a third"))
    assert "holds no vocabulary.json, and its text can't be read" in sentence


def test_what_is_no_trained_model(source, begin, tmp_path):
    assert "it has no config.json" in refusal(begin(tmp_path / "nowhere", *RMT))
    shutil.copytree(source(*RMT), tmp_path / "run", symlinks=True)
    (weights,) = (tmp_path / "run" / "checkpoints").glob("*/model.safetensors")
    weights.write_bytes(b"damaged")
    outcome, own = begin(tmp_path / "run", *RMT)
    assert outcome.status == 2
    assert "every checkpoint in" in outcome.err
    assert not own.exists()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "there is no checkpoint in" in refusal(begin(tmp_path / "run", *RMT))
    (tmp_path / "run" / "config.json").write_text("[]")
    assert "config.json can't be used" in refusal(begin(tmp_path / "run", *RMT))


def test_a_run_does_not_begin_in_its_own_folder(tiny, source):
    folder = source(*RMT)
    outcome = run(train.main, *tiny, *RMT, "--init_from", folder, "--work_dir", folder)
    assert "already holds a run" in assert_one_sentence(outcome)


# Going on


@pytest.mark.parametrize("given", [True, False], ids=["with init_from", "without"])
def test_a_restart_is_exact_and_needs_the_other_run_no_more(source, begin, tiny, tmp_path, given):
    shutil.copytree(source(*TRXL), tmp_path / "source", symlinks=True)
    flags = [*RMT, *"--dropout 0.1 --bptt_unrolls 2 --max_step 9 --save_interval 3".split()]
    outcome, whole = begin(tmp_path / "source", *flags, name="whole")
    assert outcome.status == 0, outcome.err
    with killed_before_step(5):
        begin(tmp_path / "source", *flags, name="stopped")
    shutil.rmtree(tmp_path / "source")
    again = [*flags, "--restart", "--work_dir", tmp_path / "stopped"]
    again += ["--init_from", tmp_path / "source"] if given else []
    outcome = run(train.main, *tiny, *again)
    assert outcome.status == 0, outcome.err
    one, other = weights_of(whole), weights_of(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one | other)
    said = [json.loads((f / "config.json").read_text()) for f in (whole, tmp_path / "stopped")]
    assert said[0]["began_with"] == said[1]["began_with"]
    assert said[0]["train"]["init_from"] == said[1]["train"]["init_from"] != ""
    assert "changed" not in said[1]


def test_a_restart_with_another_beginning_is_refused(source, begin, tiny):
    outcome, own = begin(source(*TRXL), *RMT)
    assert outcome.status == 0, outcome.err
    again = [*RMT, "--restart", "--work_dir", own, "--init_from", source(*BASELINE)]
    sentence = assert_one_sentence(run(train.main, *tiny, *again))
    assert "belongs to another run: init_from was " in sentence


def test_runs_of_one_configuration_begin_with_runs_that_are(source, begin, tmp_path):
    """They differ by their seeds alone, in their own names and in those of what they begin with."""
    found = {}
    for kind in ("trxl", "base"):
        for seed in (1, 2):
            own_source = tmp_path / "some" / f"{kind}-seed{seed}"
            shutil.copytree(source(*TRXL), own_source, symlinks=True)
            flags = [*RMT, *AS_IT_IS, "--seed", seed]
            outcome, own = begin(own_source, *flags, name=f"{kind}{seed}")
            assert outcome.status == 0, outcome.err
            found[kind, seed] = read_runs([own])[0].configuration
    assert found["trxl", 1] == found["trxl", 2] != found["base", 1] == found["base", 2]


def test_a_curriculum_trains_as_a_chain_of_runs_does(tiny, tmp_path):
    """Three commands or one, where nothing but the weights goes on.

    An epoch's end is where streams start anew in both; plain SGD at a constant rate has nothing
    that a new optimizer would lack.
    """
    same = [*tiny, *RMT, *"--batch_size 10 --optim sgd --lr 0.1 --scheduler constant".split()]
    same += "--eval_interval 1000 --save_interval 1000".split()
    probe = tmp_path / "probe"
    assert run(train.main, *same, "--max_step", 40, "--work_dir", probe).status == 0
    n = next(e["step"] for e in records(probe, "train") if e["epoch"] == 2) - 1
    stages = ["--curriculum_segments", 1, 2, 4, "--curriculum_steps", n, n]
    whole = tmp_path / "whole"
    outcome = run(train.main, *same, *stages, "--max_step", 3 * n, "--work_dir", whole)
    assert outcome.status == 0, outcome.err
    before = []
    for unrolls in (0, 1, 3):
        folder = tmp_path / f"chain{unrolls}"
        flags = [*same, "--bptt_unrolls", unrolls, "--max_step", n, "--work_dir", folder, *before]
        assert run(train.main, *flags).status == 0
        before = ["--init_from", folder]
    one, other = weights_of(whole), weights_of(folder)
    assert all(torch.equal(one[name], other[name]) for name in one | other)
    alone = weights_of(probe)
    assert any((one[name] != alone[name]).any() for name in one)


def test_the_checkpoint_tells_what_the_run_began_with(source, begin):
    _, own = begin(source(*TRXL), *RMT)
    assert checkpoint.find(own).manifest["began_with"]["model"] == "trxl"


@pytest.mark.parametrize(
    ("here", "there", "what"),
    [
        (4, 2, "2 rows taken, 2 new"),
        (2, 4, "2 of 4 rows taken"),
        (0, 4, "left out, pretrained has none"),
        (4, 0, "new, pretrained has none"),
        (3, 3, None),
    ],
)
def test_memory_around_a_backbone_is_told_of_in_the_same_words(here, there, what):
    model, other = wrapped("gpt2", mem_len=here), wrapped("gpt2", mem_len=there)
    own, theirs = model.state_dict(), other.state_dict()
    weights, said = model.weights_from(theirs, other.config)
    assert said == ({"memory": what} if what else {})
    assert weights.keys() == own.keys()
    n_kept = min(here, there)
    if here:
        expected = [*theirs.get("memory", ())][:n_kept] + [*own["memory"]][n_kept:]
        assert torch.equal(weights["memory"], torch.stack(expected))
