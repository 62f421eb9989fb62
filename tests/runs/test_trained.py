"""Models read back from run folders: rmt.load and what it can be told."""

import json
import shutil

import pytest
import torch

import rmt
from helpers.programs import RMT, TRXL, run, steps_saved, weights_of
from rmt import train
from rmt.runtime.errors import UsageError


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Folders of two runs whose later steps ruin what was learned."""
    folders = {}
    for name, flags in (("rmt", RMT), ("trxl", TRXL)):
        folders[name] = tmp_path_factory.mktemp(name) / "run"
        flags = [*tiny, *flags, "--work_dir", folders[name], "--scheduler", "constant"]
        assert run(train.main, *flags, "--max_step", 2).status == 0
        assert run(train.main, *flags, "--max_step", 4, "--restart", "--lr", 30).status == 0
        assert steps_saved(folders[name]) == [2, 4]
    return folders


def refused(folder, **options) -> str:
    with pytest.raises(UsageError) as error:
        rmt.load(folder, **options)
    return str(error.value)


def test_best_or_last(runs):
    for which, arguments in (
        ("best", {}),
        ("best", {"which": "best"}),
        ("last", {"which": "last"}),
    ):
        weights = rmt.load(runs["rmt"], **arguments).state_dict()
        for name, expected in weights_of(runs["rmt"], which).items():
            assert torch.equal(weights[name], expected)
    assert refused(runs["rmt"], which="first") == "which must be one of last, best, not 'first'"


def test_other_lengths(runs):
    model = rmt.load(runs["trxl"], mem_len=20, clamp_len=4)
    assert (model.config.mem_len, model.config.clamp_len) == (20, 4)
    state = model.advance(torch.zeros(1, 30, dtype=torch.int64))
    assert state.cache[0].shape[1] == 20
    assert model.vocabulary.decode([0]) == ["<eos>"]
    assert model.settings.train.tgt_len == 8
    assert not model.training
    assert "mem_len 2, which its weights depend on" in refused(runs["rmt"], mem_len=3)
    assert "rmt has no width: leave width out" in refused(runs["rmt"], width=3)
    assert "clamp_len must be -1 (no limit) or positive" in refused(runs["rmt"], clamp_len=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here(runs):
    assert "PyTorch sees no GPU" in refused(runs["rmt"], device="cuda")


def test_a_moved_folder_needs_no_text(runs, tmp_path):
    """Nor the place of encoded text."""
    folder = shutil.copytree(runs["rmt"], tmp_path / "moved", symlinks=True)
    path = folder / "config.json"
    record = json.loads(path.read_text())
    record["train"] |= {"data": "gone", "encoded_dir": "gone"}
    path.write_text(json.dumps(record))
    model, there = rmt.load(folder), rmt.load(runs["rmt"])
    assert model.vocabulary == there.vocabulary
    assert torch.equal(model.embedding.weight, there.embedding.weight)


def test_folders_that_hold_no_model(runs, tmp_path):
    assert "is not a run folder: it has no config.json" in refused(tmp_path)
    folder = shutil.copytree(runs["rmt"], tmp_path / "run", symlinks=True)
    path = folder / "vocabulary.json"
    values = json.loads(path.read_text())
    for name in ("symbols", "counts"):
        values[name] = values[name][:-1]
    path.write_text(json.dumps(values))
    assert "has 50 symbols, the model 51" in refused(folder)
    path.write_text("{}")
    assert "vocabulary.json can't be used" in refused(folder)
    shutil.rmtree(folder / "checkpoints")
    for link in ("best", "last"):
        (folder / link).unlink()
    assert f"there is no checkpoint in {folder}" in refused(folder)
