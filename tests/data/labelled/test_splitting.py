"""Folds and files of splits."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmt.data.labelled.files import Labelled
from rmt.data.labelled.splitting import by_file, check_labels, check_not_empty, in_folds
from rmt.runtime.errors import UsageError


def some(labels) -> list[Labelled]:
    return [Labelled("x", label, str(i)) for i, label in enumerate(labels)]


def names(texts) -> set[str]:
    return {text.name for text in texts}


@given(st.lists(st.sampled_from("abc"), min_size=12, max_size=60), st.integers(3, 12), st.data())
def test_folds_part_the_texts_and_every_text_is_tested_on_once(labels, n_folds, data):
    texts, seed = some(labels), data.draw(st.integers(0, 9))
    tested = Counter()
    for fold in range(n_folds):
        splits = in_folds(texts, n_folds, fold, seed)
        assert sum(map(len, splits.values())) == len(texts)
        assert names(splits["train"]) | names(splits["valid"]) | names(splits["test"]) == names(
            texts
        )
        assert names(splits["valid"]) == names(
            in_folds(texts, n_folds, (fold - 1) % n_folds, seed)["test"]
        )
        tested.update(names(splits["test"]))
        for label in "abc":
            n_here = sum(text.label == label for text in splits["test"])
            share = labels.count(label) / n_folds
            assert share - 1 < n_here < share + 1, "of each label as many as in any other fold"
    assert set(tested.values()) == {1}


def test_the_articles_are_split_as_in_published_work():
    splits = in_folds(some(["true"] * 238 + ["false"] * 407), 10, 0, 0)
    assert {split: len(own) for split, own in splits.items()} == {
        "train": 516,
        "valid": 64,
        "test": 65,
    }


def test_another_seed_gives_other_folds():
    texts = some("ab" * 30)
    first, second = (names(in_folds(texts, 10, 0, seed)["test"]) for seed in (0, 1))
    assert first != second
    assert first == names(in_folds(texts, 10, 0, 0)["test"])


def test_a_file_names_the_texts_of_each_split(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": [2, "0"], "dev": ["1"], "test": ["3"]}))
    splits = by_file(some("abab"), path)
    assert {split: [text.name for text in own] for split, own in splits.items()} == {
        "train": ["2", "0"],
        "valid": ["1"],
        "test": ["3"],
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x", "is no file of splits"),
        ("[]", "is no file of splits"),
        ('{"train": ["0"], "dev": ["1"]}', "is no file of splits"),
        ('{"train": ["0"], "dev": ["1"], "test": ["7"]}', "names the text 7, which is not there"),
        ('{"train": ["0"], "dev": ["1"], "test": ["0"]}', "names the text 0 twice"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, sentence):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        by_file(some("ab"), path)
    with pytest.raises(UsageError, match=r"cannot read .*none\.json"):
        by_file(some("ab"), tmp_path / "none.json")


@pytest.mark.parametrize(
    ("train", "valid", "test", "sentence"),
    [
        ("aa", "a", "a", "all texts to train on have one label, a"),
        ("ab", "a", "c", "no text to train on has the label c, which 0 of the test split has"),
    ],
)
def test_splits_that_nothing_can_be_learned_from(train, valid, test, sentence):
    splits = {"train": some(train), "valid": some(valid), "test": some(test)}
    with pytest.raises(UsageError, match=sentence):
        check_labels(splits)


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_splits_without_a_text(name):
    splits = {"train": some("ab"), "valid": some("a"), "test": some("b")}
    check_not_empty(splits)
    with pytest.raises(UsageError, match=f"there is no text in the {name} split"):
        check_not_empty({**splits, name: []})


def test_more_folds_than_texts():
    with pytest.raises(UsageError, match="3 texts can't be dealt to 10 folds"):
        in_folds(some("aba"), 10, 0, 0)


def test_two_texts_with_one_id(tmp_path):
    """One of them would be lost."""
    path = tmp_path / "split.json"
    path.write_text('{"train": ["a0"], "dev": [], "test": []}')
    texts = some("ab")
    with pytest.raises(UsageError, match=f"several texts have the id {texts[0].name}"):
        by_file([*texts, texts[0]], path)
