"""Checkpoints appear whole or not at all, wherever the process that writes them ends."""

import builtins
import json
import os
import pathlib
import pickle
import shutil
import signal
import stat
import time

import pytest
import safetensors.torch
import torch
from torch import nn

from helpers.programs import steps_saved
from rmt.runs import checkpoint
from rmt.runtime.errors import UsageError

ABOUT = {"model": {"n_layer": 2, "cutoffs": (1, 2), "lr": 0.1, "best": float("inf")}}


def save(work_dir, step: int, best: bool = False):
    weights = {"weight": torch.full((3, 2), float(step)), "bias": torch.arange(3.0)}
    training = {"place": {"step": step}, "streams": {"history.0": torch.tensor([step])}}
    return checkpoint.save(work_dir, step, weights, training, ABOUT, best)


def newest(work_dir) -> int:
    """The step that a restart would go on from; weights and the rest must be of the same step."""
    found = checkpoint.find(work_dir, warn=lambda _: None)
    model = nn.Linear(2, 3)
    found.load_model(model)
    assert model.weight.unique().tolist() == [found.step]
    training = found.load_training()
    assert training["place"]["step"] == found.step
    return found.step


def test_what_is_saved_is_found(tmp_path):
    path = save(tmp_path, 7)
    assert path == tmp_path / "checkpoints" / "step-00000007"
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "training.pt",
    ]
    assert (tmp_path / "last").resolve() == path
    assert not (tmp_path / "best").exists()
    found = checkpoint.find(tmp_path, warn=pytest.fail)
    assert (found.step, found.path) == (7, path)
    as_json = {"n_layer": 2, "cutoffs": [1, 2], "lr": 0.1, "best": float("inf")}
    assert found.manifest["model"] == as_json
    assert newest(tmp_path) == 7


def test_the_two_newest_and_the_best_are_kept(tmp_path):
    for step in range(1, 5):
        save(tmp_path, step, best=step == 2)
    assert steps_saved(tmp_path) == [2, 3, 4]
    assert (tmp_path / "best").resolve().name == "step-00000002"
    assert (tmp_path / "last").resolve().name == "step-00000004"
    save(tmp_path, 5, best=True)
    assert steps_saved(tmp_path) == [4, 5]
    assert checkpoint.find_best(tmp_path).step == 5


def test_the_same_step_again_replaces_it(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, best=True)
    (tmp_path / "checkpoints" / "step-00000002" / "training.pt").write_bytes(b"damaged")
    save(tmp_path, 2)
    assert newest(tmp_path) == 2
    assert (tmp_path / "best").resolve().name == "step-00000002"
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]


def test_last_is_kept_beside_newer_damaged_ones(tmp_path):
    """A restart from before damaged checkpoints must not lose what it saves to them."""
    for step in (10, 20, 30):
        save(tmp_path, step)
    for step in (20, 30):
        (tmp_path / "checkpoints" / f"step-000000{step}" / "model.safetensors").write_bytes(b"")
    save(tmp_path, 15)
    assert newest(tmp_path) == 15


def test_leftovers_of_a_crash_are_ignored_and_then_removed(tmp_path):
    save(tmp_path, 3)
    leftover = tmp_path / "checkpoints" / ".step-00000006.12345"
    shutil.copytree(tmp_path / "checkpoints" / "step-00000003", leftover)
    (tmp_path / "checkpoints" / ".step-00000007.1").mkdir()
    (tmp_path / ".last.12345").symlink_to("checkpoints/step-00000003")
    assert newest(tmp_path) == 3
    save(tmp_path, 4)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000003", "step-00000004"]


def test_no_checkpoint(tmp_path):
    for find in (checkpoint.find, checkpoint.find_best):
        with pytest.raises(UsageError, match="there is no checkpoint in"):
            find(tmp_path)
        with pytest.raises(UsageError, match="there is no checkpoint in"):
            find(tmp_path / "nowhere")


def test_find_best_without_a_best_takes_the_newest(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert checkpoint.find_best(tmp_path).step == 2
    save(tmp_path, 3, best=True)
    save(tmp_path, 4)
    assert checkpoint.find_best(tmp_path).step == 3
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000003")  # the link leads nowhere
    assert checkpoint.find_best(tmp_path).step == 4


def test_weights_of_another_model_are_refused(tmp_path):
    save(tmp_path, 1)
    found = checkpoint.find(tmp_path)
    for model, part in (
        (nn.Linear(2, 4), "its bias is (3,), not (4,)"),
        (nn.Linear(2, 3, bias=False), "its bias is (3,), not none"),
        (nn.Sequential(nn.Linear(2, 3)), "its 0.bias is none, not (3,)"),
    ):
        before = [parameter.clone() for parameter in model.parameters()]
        with pytest.raises(UsageError) as refusal:
            found.load_model(model)
        assert part in str(refusal.value)
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "manifest", ["", "[]", "3", "{}", '{"step": 1}', '{"step": 1, "sha256": {}}', "\xff", "null"]
)
def test_manifests_of_other_kinds(tmp_path, manifest):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_bytes(manifest.encode("latin-1"))
    with pytest.raises(checkpoint.DamagedCheckpoint, match="step-00000001 is damaged"):
        checkpoint.verify(path)


def test_a_manifest_changed_by_hand(tmp_path):
    """Settings that no file's checksum covers."""
    path = save(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    for changed in (manifest | {"step": 2}, manifest | {"model": {"n_layer": 3}}):
        (path / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(checkpoint.DamagedCheckpoint, match=r"manifest\.json has changed"):
            checkpoint.verify(path)
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.verify(path).step == 1


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power cut may leave a checkpoint whose files are empty, and the older ones removed."""
    order, replace, flush = [], os.replace, checkpoint._flush_to_disk
    monkeypatch.setattr(
        checkpoint, "_flush_to_disk", lambda path: (order.append(path.name), flush(path))
    )
    monkeypatch.setattr(
        os, "replace", lambda old, new: (order.append(f"> {new.name}"), replace(old, new))
    )
    save(tmp_path, 1)
    assert sorted(order[:3]) == ["manifest.json", "model.safetensors", "training.pt"]
    assert order[3:] == ["> step-00000001", "checkpoints", "> last"]


# A crash at any moment


class Crash(BaseException):
    """The process ends here; nothing in the program catches this."""


# All that changes the disk while a checkpoint is saved.
CHANGES = [
    (safetensors.torch, "save_file"),
    (torch, "save"),
    (pathlib.Path, "write_text"),
    (pathlib.Path, "mkdir"),
    (pathlib.Path, "symlink_to"),
    (pathlib.Path, "unlink"),
    (os, "replace"),
    (os, "fsync"),
    (os, "unlink"),
    (os, "rmdir"),
]


def crash_at(monkeypatch, moment: int) -> list:
    """Crash before the given change of the disk; return a list of those that came before."""
    done = []

    def crashing(function):
        def call(*args, **settings):
            if len(done) == moment:
                raise Crash
            done.append(function.__name__)
            return function(*args, **settings)

        return call

    for owner, name in CHANGES:
        monkeypatch.setattr(owner, name, crashing(getattr(owner, name)))
    return done


HISTORIES = {
    "first": [],
    "second": [1],
    "old ones to remove": [1, 2, 3],
    "the same step again": [4],
    "the same step again, after others": [2, 3, 4],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_crash_at_any_moment_of_a_save(tmp_path, history):
    """What is found afterwards is whole: the checkpoint before this one, or already this one."""
    allowed = {max(history), 4} if history else {None, 4}
    found = []
    for moment in range(100):
        work_dir = tmp_path / str(moment)
        for step in history:
            save(work_dir, step, best=step == 1)
        with pytest.MonkeyPatch.context() as patch:
            done = crash_at(patch, moment)
            try:
                save(work_dir, 4)
                crashed = False
            except Crash:
                crashed = True
        found.append(None)
        if history or found_any(work_dir):
            found[-1] = newest(work_dir)
        if not crashed:
            break
        save(work_dir, 5)  # a later one clears up
        assert newest(work_dir) == 5
        hidden = [p for p in (work_dir / "checkpoints").iterdir() if not p.name.startswith("step")]
        assert hidden == []
    assert not crashed
    assert len(done) >= 10
    assert set(found) == allowed
    assert found == sorted(found, key=lambda step: step or 0), "once saved, it stays"


def found_any(work_dir) -> bool:
    try:
        return bool(checkpoint.find(work_dir, warn=lambda _: None))
    except UsageError:
        return False


def test_kill_9_while_saving(tmp_path):
    """A child saves one checkpoint after another until it is killed, some of them half-written."""
    reached = 0
    for i in range(12):
        child = os.fork()
        if child == 0:
            for step in range(reached + 1, reached + 10_000):
                save(tmp_path, step, best=step % 3 == 0)
            os._exit(0)
        deadline = time.monotonic() + 60
        while not (tmp_path / "last").exists() or newest_name(tmp_path) < reached + 2 + i % 3:
            assert time.monotonic() < deadline
            time.sleep(0.001 * (i % 5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        step = newest(tmp_path)
        assert step >= reached + 2
        reached = step
        assert checkpoint.find_best(tmp_path, warn=pytest.fail).step % 3 == 0 or reached < 3


def newest_name(work_dir) -> int:
    names = [p.name for p in (work_dir / "checkpoints").glob("step-*")]
    return max((int(name.removeprefix("step-")[:8]) for name in names), default=0)


# Pickles


def test_nothing_but_tensors_is_loaded(tmp_path):
    path = save(tmp_path, 1)
    torch.save({"place": print}, path / "training.pt")
    with pytest.raises(UsageError, match="holds more than tensors and numbers"):
        checkpoint.Checkpoint(path, {}).load_training()
    (path / "training.pt").write_bytes(pickle.dumps(builtins.print, protocol=2))
    with pytest.raises(UsageError, match="holds more than tensors and numbers"):
        checkpoint.Checkpoint(path, {}).load_training()


# Another run's checkpoints


def test_adopted_checkpoints_are_copies(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path / "old", step, best=step == 1)
    checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "new")
    shutil.rmtree(tmp_path / "old")
    assert newest(tmp_path / "new") == 3
    assert checkpoint.find_best(tmp_path / "new").step == 1
    assert steps_saved(tmp_path / "new") == [1, 3]


def test_adopted_checkpoints_of_a_read_only_run_can_be_written(tmp_path):
    """Else they could not be pruned, nor the new run be removed."""
    save(tmp_path / "old", 1, best=True)
    save(tmp_path / "old", 2)
    for path in (tmp_path / "old").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "new")
    adopted = list((tmp_path / "new").rglob("*"))
    assert len([path for path in adopted if path.is_file()]) == 2 * 3
    assert [path for path in adopted if not path.stat().st_mode & stat.S_IWUSR] == []
    save(tmp_path / "new", 3, best=True)
    assert steps_saved(tmp_path / "new") == [2, 3]


def test_adopting_where_nothing_can_be_written(tmp_path):
    save(tmp_path / "old", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be copied to"):
        checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "file" / "sub")
