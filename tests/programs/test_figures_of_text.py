"""rmt.figures attention --text and context: runs on text, looked into."""

import json
import shutil

import numpy as np
import pytest
from matplotlib import pyplot as plt

from helpers import gru  # noqa: F401  registers the model
from helpers.programs import RMT, TINY, TRXL, assert_one_sentence, run, trained_when_asked
from rmt import figures, train

GRU = "--model gru --d_model 12 --tgt_len 8 --batch_size 4 --eval_batch_size 2".split()

TASK = "--dataset reverse --n 4 --train_samples 60 --valid_samples 10 --test_samples 10".split()


@pytest.fixture(scope="module")
def runs(corpus_folder, text_file, encoded_dir, tmp_path_factory):
    """Folders of finished runs, by name, made when first asked for."""
    words = ["--dataset", "wt103", "--data", corpus_folder]
    flags = {
        "rmt": [*words, *TINY, *RMT],
        "another seed": [*words, *TINY, *RMT, "--seed", 5],
        "another lr": [*words, *TINY, *RMT, "--lr", 0.02],
        "trxl": [*words, *TINY, *TRXL],
        "baseline": [*words, *TINY, "--model", "baseline"],
        "gru": [*words, *GRU, "--max_step", 4],
        "characters": ["--dataset", "text", "--data", text_file, *TINY, *RMT],
        "task": [*TASK, *TINY, *RMT],
    }
    where = ["--encoded_dir", encoded_dir]
    return trained_when_asked(
        {name: [*own, *where] for name, own in flags.items()}, tmp_path_factory
    )


@pytest.fixture
def own(tmp_path):
    """A text of 120 words."""
    path = tmp_path / "own.txt"
    path.write_text("w1 w2 w3 w5 w7\nw7 w6 w5\n" * 12)
    return path


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are drawn."""
    kept = []
    monkeypatch.setattr(plt, "close", kept.append)
    yield kept
    monkeypatch.undo()
    plt.close("all")


def context(*flags) -> list:
    outcome = run(figures.main, "context", *flags)
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out.splitlines()


def attention(*flags) -> list:
    outcome = run(figures.main, "attention", *flags)
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out.splitlines()


# context


def test_context_of_every_model_in_one_picture(runs, tmp_path, drawn):
    folders = [runs(name) for name in ("baseline", "rmt", "trxl", "gru", "another seed")]
    out = tmp_path / "context.png"
    size = ["--history", 3, "--segments", 6, "--out", out]
    assert context("--work_dir", *folders, *size) == [str(out), str(tmp_path / "context.json")]
    assert out.read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "context.json").read_text())
    assert found["text"] == "wt103, test"
    labels = [each["label"] for each in found["runs"]]
    assert labels == [
        "baseline, segments of 8",
        "rmt, memory 2, BPTT-0, segments of 8",
        "trxl, cache 8, segments of 8",
        "gru, BPTT-0, segments of 8",
        "rmt, memory 2, BPTT-0, segments of 8",
    ]
    by_position, by_history = drawn[0].axes
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *labels[:1],
        "rmt, memory 2, BPTT-0, segments of 8 (2 runs)",
        *labels[2:4],
    ]
    for line, each in zip(by_history.get_lines(), found["runs"], strict=True):
        assert [entry["segments_before"] for entry in each["by_history"]] == [0, 1, 2, 3]
        losses = [entry["loss"] for entry in each["by_history"]]
        np.testing.assert_allclose(line.get_ydata(), np.exp(losses))
        for entry in each["by_history"]:
            assert entry["gain"] == pytest.approx(losses[0] - entry["loss"])
            assert entry["gain_standard_error"] >= 0
        for name, loss in (("by_position", losses[-1]), ("by_position_without_history", losses[0])):
            assert len(each[name]) == 8
            assert np.mean(each[name]) == pytest.approx(loss)
    assert {entry["gain"] for entry in found["runs"][0]["by_history"]} == {0}
    assert all(entry["gain"] for entry in found["runs"][1]["by_history"][1:])
    assert len(by_position.get_lines()) == 2 * len(folders)
    colours = [line.get_color() for line in by_history.get_lines()]
    assert colours[1] == colours[4]
    assert len(set(colours)) == 4


def test_context_on_a_text_of_ones_own_without_the_training_text(runs, own, tmp_path):
    moved = shutil.copytree(runs("rmt"), tmp_path / "moved", symlinks=True)
    config = json.loads((moved / "config.json").read_text())
    config["train"]["data"] = "nowhere"
    (moved / "config.json").write_text(json.dumps(config))
    printed = context("--work_dir", moved, "--text", own, "--history", 2)
    assert printed == [str(moved / "context.png"), str(moved / "context.json")]
    assert json.loads((moved / "context.json").read_text())["text"] == str(own)
    sentence = assert_one_sentence(run(figures.main, "context", "--work_dir", moved))
    assert sentence.startswith(f"the text of {moved} can't be read (there is no wt103 data")
    assert sentence.endswith("give --text")


def test_runs_of_one_label_and_several_settings_are_told_apart(runs, tmp_path):
    out = tmp_path / "context.png"
    folders = [runs("rmt"), shutil.copytree(runs("another lr"), tmp_path / "faster", symlinks=True)]
    context("--work_dir", *folders, "--history", 1, "--segments", 1, "--out", out)
    found = json.loads((tmp_path / "context.json").read_text())["runs"]
    assert [each["label"].rpartition(", ")[2] for each in found] == ["run", "faster"]
    assert found[0]["by_history"][1]["gain_standard_error"] is None, "of one segment"


@pytest.mark.parametrize(
    ("names", "flags", "part"),
    [
        ("rmt", "--history 0", "history and segments must be 1 or more"),
        ("rmt", "--segments 0", "history and segments must be 1 or more"),
        ("rmt", "--history 9999", "too few for one with 9999 before: give a longer --text, or a"),
        ("rmt", "--text {own} --history 16", "own.txt holds 14 whole segments of 8 tokens"),
        ("rmt", "--text nowhere.txt", "there is no file nowhere.txt"),
        ("rmt", "--out {own}", "figures are PNG files"),
        ("rmt characters", "", "have different vocabularies: their losses can't be compared"),
        ("task", "", "is a run on reverse, which is no text: choose one that is on text"),
    ],
)
def test_context_refuses(runs, own, tmp_path, names, flags, part):
    folders = [runs(name) for name in names.split()]
    before = sorted(path for folder in (tmp_path, *folders) for path in folder.rglob("*"))
    flags = [word.format(own=own) for word in flags.split()]
    assert part in assert_one_sentence(run(figures.main, "context", "--work_dir", *folders, *flags))
    after = sorted(path for folder in (tmp_path, *folders) for path in folder.rglob("*"))
    assert after == before


# attention --text


def test_attention_while_a_text_is_read(runs, own, tmp_path, drawn):
    out = tmp_path / "maps.png"
    *said, maps, shares, numbers = attention("--work_dir", runs("rmt"), "--text", own, "--out", out)
    assert [maps, shares] == [str(out), str(tmp_path / "maps-shares.png")]
    found = json.loads((tmp_path / "maps.json").read_text())
    assert numbers == str(tmp_path / "maps.json")
    assert found["text"] == str(own)
    assert found["n_segments"] == 13, "of 119 inputs the whole segments after the first"
    by_head = found["by_head"]
    assert set(by_head) == {"read", "tokens"}
    np.testing.assert_allclose(np.add(by_head["read"], by_head["tokens"]), 1, rtol=1e-5)
    assert np.shape(found["by_position"]["read"]) == (2, 8)
    rows = [row.strip("| ").split(" | ") for row in said[-4:]]
    assert rows[0] == ["layer", "read memory", "tokens"]
    for layer, row in enumerate(rows[2:]):
        assert row[1] == f"{np.mean(by_head['read'][layer]):.3f}"
    first, second = drawn
    assert len([axis for axis in first.axes if axis.images]) == 3 * 2 * 2
    texts = [text.get_text() for text in first.texts]
    assert "segment 1 of 3:  w1 w2 w3 w5 w7 <eos> w7 w6 " in texts
    image, by_position = second.axes
    np.testing.assert_allclose(image.images[0].get_array(), by_head["read"])
    for line, share_T in zip(by_position.get_lines(), found["by_position"]["read"], strict=True):
        np.testing.assert_allclose(line.get_ydata(), share_T)


def test_attention_of_a_model_that_sees_nothing_before(runs, own):
    folder = runs("baseline")
    *_, maps, numbers = attention("--work_dir", folder, "--text", own)
    assert [maps, numbers] == [str(folder / f"attention-text.{kind}") for kind in ("png", "json")]
    assert set(json.loads((folder / "attention-text.json").read_text())["by_head"]) == {"tokens"}


def test_symbols_that_look_like_formulas_are_symbols(runs, tmp_path):
    text = tmp_path / "formulas.txt"
    text.write_text("the cat sat on the mat,\nthe dog.\n" * 3)
    folder = shutil.copytree(runs("characters"), tmp_path / "run", symlinks=True)
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    # As a formula, "$he c{$ s{$" could not be drawn.
    formulas = str.maketrans("ta", "${")
    vocabulary["symbols"] = [symbol.translate(formulas) for symbol in vocabulary["symbols"]]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    text.write_text(text.read_text().translate(formulas))
    attention("--work_dir", folder, "--text", text)
    assert (folder / "attention-text.png").exists()


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize("dataset", ["enwik8", "text"])
def test_bytes_and_rare_characters_can_be_read(tmp_path, encoded_dir, drawn, dataset):
    """Bytes as characters, and what the font has not as its code."""
    text = tmp_path / "rare 字.txt"
    text.write_text("the 字 cat\x01 sät\n" * 60)
    folder, out = tmp_path / "run", tmp_path / "maps.png"
    flags = ["--dataset", dataset, "--data", text, *TINY, *RMT, "--encoded_dir", encoded_dir]
    outcome = run(train.main, *flags, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    attention("--work_dir", folder, "--text", text, "--out", out)
    texts = [each.get_text() for each in drawn[0].texts]
    assert any("rare <5b57>.txt" in each for each in texts)
    first = "the <e5><ad><97> " if dataset == "enwik8" else "the <5b57> ca"
    assert f"segment 1 of 3:  {first}" in texts


@pytest.mark.parametrize(
    ("name", "flags", "part"),
    [
        ("rmt", "", "is a run on text (wt103): name one that it should read with --text"),
        ("rmt", "--text {own} --sample 1", "sample is for runs on tasks: leave it out with --text"),
        ("rmt", "--text {own} --segments 1", "segments must be 2 or more"),
        ("rmt", "--text {own} --out {own}", "figures are PNG files"),
        ("rmt", "--text {short}", "short.txt is too short: it holds no whole segment after the"),
        ("rmt", "--text {strange}", "line 1: the word 'zebra' does not occur"),
        ("gru", "--text {own}", "gru has no attention to look at"),
        ("task", "--text {own}", "is a run on reverse, which is no text"),
    ],
)
def test_attention_refuses(runs, own, tmp_path, name, flags, part):
    names = {"own": own, "short": tmp_path / "short.txt", "strange": tmp_path / "strange.txt"}
    names["short"].write_text("w1 w2 w3 w4 w5 w6 w7 w8 w9 w10")
    names["strange"].write_text("zebra w1 w2")
    flags = [word.format(**names) for word in flags.split()]
    before = sorted(tmp_path.rglob("*"))
    refused = run(figures.main, "attention", "--work_dir", runs(name), *flags)
    assert part in assert_one_sentence(refused)
    assert sorted(tmp_path.rglob("*")) == before
