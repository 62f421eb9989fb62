"""Which texts are to train, to validate and to test on."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rmt.data.labelled.files import Labelled
from rmt.data.text.dataset import SPLITS
from rmt.runtime.errors import UsageError

# What files of splits call them; the published ones of Hyperpartisan say dev.
NAMES = {"train": ("train",), "valid": ("valid", "dev", "validation"), "test": ("test",)}

Splits = dict[str, list[Labelled]]


def in_folds(texts: Sequence[Labelled], n_folds: int, fold: int, seed: int) -> Splits:
    """One fold to test on, the one before it to validate on, and the others to train on.

    The texts of each label are dealt to the folds in random order, one after the other, so that all
    folds have as many of it, or one more. 645 texts in ten folds are, with fold 0, 516 to train, 64
    to validate and 65 to test on. Raises UsageError for more folds than texts.
    """
    if n_folds > len(texts):
        raise UsageError(f"{len(texts)} texts can't be dealt to {n_folds} folds: choose fewer")
    random = np.random.default_rng(seed)
    labels = np.array([text.label for text in texts])
    of_each = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    fold_of = np.empty(len(texts), np.int64)
    fold_of[np.concatenate(of_each)] = np.arange(len(texts)) % n_folds
    splits: Splits = {split: [] for split in SPLITS}
    held_out = {fold: "test", (fold - 1) % n_folds: "valid"}
    for text, own in zip(texts, fold_of.tolist(), strict=True):
        splits[held_out.get(own, "train")].append(text)
    return splits


def by_file(texts: Sequence[Labelled], path: Path) -> Splits:
    """As a JSON file says that holds the names of each split's texts:

        {"train": ["0000001", ...], "dev": [...], "test": [...]}

    Raises UsageError for other content, a name that no text has, or one in two splits.
    """
    try:
        named = json.loads(path.read_text("utf-8"))
        names = {split: _names_of(named, split) for split in SPLITS}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path} is no file of splits: it must be JSON with the ids of texts for train, dev "
            "and test"
        ) from None
    by_name = {text.name: text for text in texts}
    if len(by_name) < len(texts):
        ((name, _),) = Counter(text.name for text in texts).most_common(1)
        raise UsageError(f"several texts have the id {name}: give each its own")
    every = [name for own in names.values() for name in own]
    for name in every:
        if name not in by_name:
            raise UsageError(f"{path} names the text {name}, which is not there")
    if len(set(every)) < len(every):
        twice = next(name for name in every if every.count(name) > 1)
        raise UsageError(f"{path} names the text {twice} twice")
    return {split: [by_name[name] for name in own] for split, own in names.items()}


def _names_of(named: Mapping, split: str) -> list[str]:
    key = next((key for key in NAMES[split] if key in named), split)
    return [str(name) for name in named[key]]


def check_not_empty(splits: Mapping[str, Sequence[Labelled]]) -> None:
    """Raise UsageError for a split without a text."""
    for split, texts in splits.items():
        if not texts:
            raise UsageError(f"there is no text in the {split} split: give more texts")


def check_labels(splits: Mapping[str, Sequence[Labelled]]) -> None:
    """Raise UsageError for one label alone, or one that only a split that is held out has."""
    known = {text.label for text in splits["train"]}
    if len(known) < 2:
        raise UsageError(
            f"all texts to train on have one label, {min(known)}: there is nothing to learn"
        )
    for split, texts in splits.items():
        for text in texts:
            if text.label not in known:
                raise UsageError(
                    f"no text to train on has the label {text.label}, which {text.name} of the "
                    f"{split} split has"
                )
