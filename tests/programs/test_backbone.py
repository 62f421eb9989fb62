"""A pretrained backbone is trained, continued, scored and sampled from like any other model."""

import json
import shutil

import pytest
import torch

from helpers.pretrained import write_tokenizer
from helpers.programs import assert_one_sentence, records, result, run, weights_of
from rmt import eval as evaluation
from rmt import figures, generate, interop, tables, train
from rmt.data.text.corpora import load_corpus
from rmt.data.text.dataset import TextOptions
from rmt.data.text.own import TEXT
from rmt.data.text.pretrained import PretrainedTokenizer
from rmt.evaluation.stream import StreamState, read
from rmt.runs.trained import load

transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
LINES = "The cat sat on the mat, and 12 dogs sat on the log. Schöne Grüße!\n\n = Title = \n"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A folder with a random GPT-2 and a tokenizer of 300 tokens, bytes and frequent pairs."""
    folder = tmp_path_factory.mktemp("backbone")
    write_tokenizer(folder, LINES, 300)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    torch.manual_seed(0)
    # More words than the tokenizer has, as in models that were padded for speed.
    config = transformers.GPT2Config(vocab_size=320, bos_token_id=0, eos_token_id=0, **sizes)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flags(backbone, tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "own.txt"
    text.write_text(LINES * 60, "utf-8")
    data = ["--dataset", "text", "--data", text, "--tokenizer", f"hf:{backbone}"]
    data += ["--encoded_dir", tmp_path_factory.mktemp("encoded"), "--backbone", backbone]
    sizes = "--mem_len 3 --tgt_len 12 --batch_size 4 --eval_batch_size 2 --max_step 6".split()
    return [*map(str, data), *sizes, *"--log_interval 1 --lr 0.01 --scheduler constant".split()]


def trained(folder, *flags):
    outcome = run(train.main, *flags, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    return folder


def assert_it_is_a_run_like_any_other(folder, label):
    """It has learned, is scored, has a row in a table and a curve, and generates."""
    losses = [entry["loss"] for entry in records(folder, "train")]
    assert losses[-1] < losses[0]
    scored = run(evaluation.main, "--work_dir", folder, "--split", "test")
    assert f"{result(folder)['test_ppl']:.3f}" in scored.out
    assert label in run(tables.main, "runs", folder).out
    picture = folder.with_suffix(".png")
    drawn = run(figures.main, "curves", folder, "--out", picture)
    assert drawn.status == 0, drawn.err
    assert picture.stat().st_size > 0
    said = run(generate.main, "--work_dir", folder, "--prompt", "The cat", "--tokens", 20)
    assert said.status == 0, said.err


def test_it_trains_is_scored_generates_and_has_a_row(flags, tmp_path):
    folder = trained(tmp_path / "run", *flags, "--bptt_unrolls", "2")
    made = result(folder)
    assert (made["model"], made["n_carried"], made["carries_gradient"]) == ("pretrained", 48, True)
    assert_it_is_a_run_like_any_other(folder, "pretrained, memory 3")
    model = load(folder)
    assert model.codec.decode(model.codec.encode("Grüße, cat 12")) == "Grüße, cat 12"


def test_with_associative_memories_too(flags, tmp_path):
    how = ["--model", "armt", "--d_mem", 4, "--bptt_unrolls", 2]
    folder = trained(tmp_path / "run", *flags, *how)
    made = result(folder)
    assert (made["model"], made["d_mem"]) == ("pretrained_armt", 4)
    assert (made["n_carried"], made["carries_gradient"]) == (2 * 24 * 17, True)
    assert_it_is_a_run_like_any_other(folder, "pretrained_armt, memory 3, d_mem 4")


@pytest.mark.parametrize(
    "how",
    [
        "--bptt_unrolls 2 --bptt_mode window",
        "--bptt_unrolls 1 --checkpoint_segments --batch_chunk 2",
        "--freeze_backbone --lora_rank 1 --optim adamw --weight_decay 0.1",
        "--lora_rank 2 --memory_mask paper --bptt_unrolls 1",
        "--mem_len 0",
        "--model armt --d_mem 4 --bptt_unrolls 2",
        "--model armt --d_mem 4 --bptt_unrolls 1 --memory_update delta --batch_chunk 2",
        "--model armt --d_mem 4 --bptt_unrolls 1 --bptt_mode window --freeze_backbone",
        "--model armt --d_mem 4 --bptt_unrolls 1 --lora_rank 1 --optim adamw --weight_decay 0.1",
    ],
)
def test_it_goes_on_after_a_restart_as_if_it_had_not_stopped(flags, tmp_path, how):
    if "lora" in how:
        pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    whole = trained(tmp_path / "whole", *flags, *how.split(), "--save_interval", 3)
    half = trained(tmp_path / "half", *flags, *how.split(), "--max_step", 3)
    trained(half, *flags, *how.split(), "--restart")
    one, two = weights_of(whole), weights_of(half)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_text_is_cut_where_that_changes_no_token(backbone, tmp_path, monkeypatch):
    text = tmp_path / "own.txt"
    text.write_text(LINES * 40, "utf-8")
    options = TextOptions(tokenizer=f"hf:{backbone}")
    whole = load_corpus(TEXT, text, options, encoded_dir=tmp_path / "whole")
    monkeypatch.setattr("rmt.data.text.sources.BLOCK_BYTES", 100)
    parts = load_corpus(TEXT, text, options, encoded_dir=tmp_path / "parts")
    tokenizer = PretrainedTokenizer(str(backbone / "tokenizer.json"))
    read = []
    for split, ids in whole.splits.items():
        assert ids.tolist() == parts.splits[split].tolist()
        read.append("".join(tokenizer.write(whole.vocabulary.decode(ids.tolist()))))
    assert "".join(read) == LINES * 40
    assert len(whole.vocabulary) == 300


def test_wrong_use(flags, backbone, tmp_path):
    def sentence(*more):
        folder = tmp_path / "new"
        found = assert_one_sentence(run(train.main, *flags, *more, "--work_dir", folder))
        assert not folder.exists()
        return found

    assert "there is no folder" in sentence("--backbone", tmp_path / "no")
    assert "holds no causal language model" in sentence("--backbone", tmp_path)
    assert "can't be read" in sentence("--tokenizer", f"hf:{tmp_path}")
    assert "choose char, word or hf:FOLDER" in sentence("--tokenizer", "bpe")
    assert "positions for 64 rows" in sentence("--mem_len", 30)
    assert "backbone means nothing to model rmt" in sentence("--model", "rmt")
    wrong = tmp_path / "tokenizer"
    wrong.mkdir()
    (wrong / "tokenizer.json").write_text("{}")
    assert "holds no tokenizer" in sentence("--tokenizer", f"hf:{wrong}")
    lowered = json.loads((backbone / "tokenizer.json").read_text())
    (wrong / "tokenizer.json").write_text(
        json.dumps({**lowered, "normalizer": {"type": "Lowercase"}})
    )
    assert "does not give back the text" in sentence("--tokenizer", f"hf:{wrong}")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("--freeze_backbone", "with bptt_unrolls 0 later segments of a text"),
        ("--freeze_backbone --bptt_unrolls 2", "2 later segments of a text don't reach it"),
        ("--freeze_backbone --mem_len 0", "mem_len 0 there is nothing to train"),
        ("--freeze_backbone --model armt", "give bptt_unrolls 1 or more"),
    ],
)
def test_what_trains_nothing_is_refused(flags, tmp_path, how, sentence):
    outcome = run(train.main, *flags, *how.split(), "--work_dir", tmp_path / "new")
    assert sentence in assert_one_sentence(outcome)
    assert not (tmp_path / "new").exists()


def test_a_step_that_trains_nothing_says_so(flags, tmp_path):
    how = ["--freeze_backbone", "--reset_at_documents", "--work_dir", tmp_path / "new"]
    outcome = run(train.main, *flags, *how)
    assert "depends on nothing that is trained" in assert_one_sentence(outcome)


@pytest.mark.parametrize("model", ["pretrained", "armt"])
@pytest.mark.parametrize("how", [["--compile"], ["--cuda_graph", "on"]])
def test_steps_are_neither_compiled_nor_captured(flags, tmp_path, model, how):
    outcome = run(train.main, *flags, "--model", model, *how, "--work_dir", tmp_path / "new")
    sentence = f"{' '.join(how)} is not possible: a pretrained backbone is computed by"
    assert assert_one_sentence(outcome).startswith(sentence)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "how", ["--bptt_unrolls 1", "--model armt --d_mem 4 --bptt_unrolls 1", "--lora_rank 1"]
)
def test_a_run_is_of_use_where_its_backbone_is_gone(flags, backbone, tmp_path, how):
    if "lora" in how:
        pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    moved = tmp_path / "backbone"
    shutil.copytree(backbone, moved)
    where = ["--backbone", moved, "--tokenizer", f"hf:{moved}", "--encoded_dir", tmp_path / "kept"]
    folder = trained(tmp_path / "run", *flags, *how.split(), *where)
    before = load(folder)
    shutil.rmtree(moved)
    shutil.rmtree(tmp_path / "kept")
    copy = tmp_path / "copy"
    assert run(interop.main, folder, copy).status == 0
    state = read(before, before.codec.encode("The cat"))
    state.save(tmp_path / "state", before)
    for place in (folder, copy):
        scored = run(evaluation.main, "--work_dir", place, "--split", "test")
        assert f"{result(folder)['test_ppl']:.3f}" in scored.out, scored.err
        said = run(generate.main, "--work_dir", place, "--prompt", "The cat", "--tokens", 5)
        assert said.status == 0, said.err
        model = load(place, needs_text=True)
        ids = torch.from_numpy(model.codec.encode("Grüße, cat 12"))[None]
        assert torch.equal(model.predict(ids)[0], before.predict(ids)[0])
        StreamState.load(tmp_path / "state", model)
    # And another run may begin with it.
    kept = ["--backbone", folder / "kept" / "backbone.json", "--tokenizer", f"hf:{folder}/kept"]
    more = [*how.split(), *kept, "--init_from", folder, "--lr", 1e-9, "--max_step", 1]
    begun = weights_of(trained(tmp_path / "more", *flags, *more))
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(begun[name], weight, rtol=0, atol=1e-6)


def test_a_configuration_alone_begins_with_random_weights(flags, backbone, tmp_path):
    how = ["--backbone", backbone / "config.json", "--seed", 3]
    one = weights_of(trained(tmp_path / "one", *flags, *how))
    two = weights_of(trained(tmp_path / "two", *flags, *how))
    assert all(torch.equal(one[name], two[name]) for name in one)
    wrong = ["--backbone", tmp_path / "one" / "metrics.jsonl", "--work_dir", tmp_path / "three"]
    assert "there is no folder" in assert_one_sentence(run(train.main, *flags, *wrong))
    wrong[1] = tmp_path / "one" / "vocabulary.json"
    assert "holds no causal language" in assert_one_sentence(run(train.main, *flags, *wrong))
