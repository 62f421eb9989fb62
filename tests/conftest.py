"""Fixtures of several test files: a tiny corpus and flags for the smallest run on it."""

import hypothesis
import pytest
import torch

from helpers.programs import REAL_TEXT, TINY, write_corpus

# Equal sums need equal numbers of threads; and the machines that run tests are small.
torch.set_num_threads(1)
# A loaded machine is no failure, and a failure must come again.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory):
    """Words: train.txt, valid.txt, test.txt."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """Characters, about 9,000."""
    path = tmp_path_factory.mktemp("text") / "own.txt"
    path.write_text("the cat sat on the mat, the dog on the log.\n" * 200)
    return path


@pytest.fixture(scope="session")
def encoded_dir(tmp_path_factory):
    """Keeps encoded text out of the repository."""
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture(scope="session")
def tiny(corpus_folder, encoded_dir):
    """Flags of a run of four steps that takes well under a second."""
    data = ["--dataset", "wt103", "--data", corpus_folder, "--encoded_dir", encoded_dir]
    return [*map(str, data), *TINY]


@pytest.fixture(scope="session")
def real_text():
    """The folder of real text, where there is one."""
    if not REAL_TEXT.is_dir():
        pytest.skip(f"no real text at {REAL_TEXT}")
    return REAL_TEXT
