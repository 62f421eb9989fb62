"""Fixtures of several test files: a tiny corpus and flags for the smallest run on it."""

import signal
from pathlib import Path

import hypothesis
import pytest
import torch

from helpers.gpu import on_stand_ins
from helpers.programs import ROOT, TINY, write_corpus

# Equal sums need equal numbers of threads; and the machines that run tests are small.
torch.set_num_threads(1)
# A loaded machine is no failure, and a failure must come again.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items):
    """Tests marked cuda run on a GPU, or with stand-ins for one where that is asked for."""
    if torch.cuda.is_available() or on_stand_ins():
        return
    reason = "needs a CUDA device: there, run_scripts/gpu_check.sh runs it"
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def hangups_reach_programs():
    """Under nohup SIGHUP is ignored, by all that the tests start, too; no handler is inherited."""
    before = signal.getsignal(signal.SIGHUP)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    yield
    signal.signal(signal.SIGHUP, before)


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
def published():
    """Where a published text lies: where getdata.sh puts it, or beside the checkout."""

    def published(*names: str) -> Path:
        """The first of these names that is there."""
        folders = (ROOT / "data", ROOT.parent / "shared" / "data")
        for path in (folder / name for name in names for folder in folders):
            if path.exists():
                return path
        pytest.skip(f"only the published text has these counts and checksums: no data/{names[0]}")

    return published
