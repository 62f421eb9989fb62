"""A text of several files: which ones, where it is cut, and where its documents start."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.data import load_corpus
from rmt.data.text.sources import Source
from rmt.data.text.splitting import split_characters, split_documents
from rmt.options.training import TrainConfig
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root

SPLITS = ("train", "valid", "test")


@pytest.fixture
def load(tmp_path):
    def load(data, **options):
        options = {"encoded_dir": tmp_path / "encoded", "progress": False, **options}
        return load_corpus("text", data, **options)

    return load


def write(folder, **texts):
    """Files of these names; returns the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def documents(corpus, split):
    """The text of each document."""
    ids, starts = corpus.splits[split], [*corpus.documents_of(split), None]
    pairs = itertools.pairwise(starts)
    return ["".join(corpus.vocabulary.decode(ids[start:stop])) for start, stop in pairs]


def source(text: str) -> Source:
    return Source("made here", lambda: io.BytesIO(text.encode()))


texts = st.lists(st.text("aä€ \n", max_size=40), min_size=1, max_size=6)


@given(texts=texts)
def test_documents_are_cut_as_if_they_were_one_text(texts):
    together = "".join(texts)
    parts = [source(text).text() for text in texts]
    if len(together) < 20:
        with pytest.raises(UsageError, match=f"too short to split: it holds {len(together)} char"):
            split_documents(parts)
        return
    one = split_characters(source(together).text())
    several = split_documents(parts)
    for split in SPLITS:
        joined = b"".join(block for part in several[split] for block in part.blocks())
        assert joined == b"".join(one[split].blocks())
        assert all(len(part) for part in several[split])


def test_a_document_that_a_cut_falls_into_is_one_in_both_splits(load, tmp_path):
    """100 characters; the cuts are at 90, in c, and at 95, in d."""
    folder = write(tmp_path / "mine", b="b" * 30, a="a" * 50, d="d" * 9, c="c" * 11)
    corpus = load(folder)
    assert documents(corpus, "train") == ["a" * 50, "b" * 30, "c" * 10]
    assert documents(corpus, "valid") == ["c", "d" * 4]
    assert documents(corpus, "test") == ["d" * 5]
    assert corpus.how_split.startswith("90 %, 5 % and 5 %")
    again = load(folder)
    assert again.documents == corpus.documents == {"train": [0, 50, 80], "valid": [0, 1]}


def test_files_in_the_order_given_and_folders_by_name(load, tmp_path):
    folder = write(tmp_path / "mine", b="b" * 30, a="a" * 30)
    (folder / "notes.md").write_text("no text of the corpus")
    (folder / "z").mkdir()
    other = tmp_path / "other"
    other.write_text("o" * 40)
    assert documents(load([other, folder]), "train") == ["o" * 40, "a" * 30, "b" * 20]
    assert documents(load([folder, other]), "train") == ["a" * 30, "b" * 30, "o" * 30]


def test_words_end_a_line_with_every_document(load, tmp_path):
    folder = write(tmp_path / "mine", a="so it is " * 20 + "\nso", b="it is so " * 20)
    corpus = load(folder, tokenizer="word")
    words = corpus.vocabulary.decode(corpus.splits["train"])
    assert words[60:63] == ["<eos>", "so", "<eos>"]
    assert corpus.documents_of("train") == [0, 63]


def test_documents_change_the_fingerprint_and_one_alone_does_not(load, tmp_path):
    folder = write(tmp_path / "mine", a="ab" * 30, b="ab" * 30)
    whole = tmp_path / "whole"
    whole.write_text("ab" * 60)
    one, two = load(whole), load(folder)
    assert all(np.array_equal(one.splits[split], two.splits[split]) for split in SPLITS)
    assert one.fingerprint != two.fingerprint
    assert one.documents == {}
    # As it was before there were documents: encoded text of old runs is found.
    assert one.fingerprint.startswith("eb860e4e336ee7b5")
    assert load([whole]).fingerprint == one.fingerprint


def test_splits_given_apart(load, tmp_path):
    data = write(tmp_path / "data", a="to be", b="or not")
    (tmp_path / "valid").write_text("not to be")
    (tmp_path / "test").write_text("be not")
    apart = {"valid_data": (str(tmp_path / "valid"),), "test_data": (str(tmp_path / "test"),)}
    corpus = load(data, **apart)
    found = [documents(corpus, split) for split in SPLITS]
    assert found == [["to be", "or not"], ["not to be"], ["be not"]]
    assert corpus.how_split == "as given"
    with pytest.raises(UsageError, match="given together: name both, or neither"):
        load(data, valid_data=apart["valid_data"])
    with pytest.raises(UsageError, match=f"there is no file {tmp_path}/nowhere"):
        load(data, **{**apart, "test_data": (str(tmp_path / "nowhere"),)})
    with pytest.raises(UsageError, match="valid_data means nothing to dataset wt103"):
        load_corpus("wt103", data, **apart)


def test_a_folder_of_splits_stays_what_it_was(load, tmp_path):
    folder = write(tmp_path / "mine", train="to be", valid="be to", test="be", other="not read")
    assert [documents(load(folder), split) for split in SPLITS] == [["to be"], ["be to"], ["be"]]
    with pytest.raises(UsageError, match=r"mine holds a text that is split already: name it alone"):
        load([folder, folder])
    (folder / "test.txt").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*mine/test\.txt"):
        load(folder)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, r"mine holds no text: put files there whose names end in \.txt"),
        ({"a": "x" * 30, "b": ""}, r"mine/b\.txt is empty"),
        ({"a": "x" * 10, "b": "y" * 9}, r"a\.txt and 1 more is too short to split: it holds 19 "),
        ({"a": "x" * 10, "b": "y" * 11}, r"b\.txt is too short: its valid part holds 1 "),
    ],
)
def test_bad_folders(load, tmp_path, texts, message):
    folder = write(tmp_path / "mine", **texts)
    with pytest.raises(UsageError, match=message):
        load(folder)


def test_only_texts_of_documents_are_in_several_places(tmp_path):
    with pytest.raises(UsageError, match="wt103 is in one place, but --data names 2"):
        load_corpus("wt103", [tmp_path, tmp_path])


# In the records of a run


@pytest.mark.parametrize("places", [(), ("a",), ("a", "b")])
def test_records_have_one_place_as_it_always_was(places):
    given = tuple(str(project_root() / place) for place in places)
    config = TrainConfig(dataset="text", data=given, valid_data=given)
    recorded = config.recorded()
    assert recorded["data"] == {0: "", 1: "a", 2: ["a", "b"]}[len(places)]
    again = TrainConfig.from_record(recorded)
    assert again.recorded() == recorded
    assert len(again.data) == len(again.valid_data) == len(places)


def test_a_record_of_before_there_were_several():
    assert TrainConfig.from_record({"data": "", "dataset": "wt103"}).data == ()
    [place] = TrainConfig.from_record({"data": "data/x", "dataset": "wt103"}).data
    assert Path(place).resolve() == (project_root() / "data" / "x").resolve()
