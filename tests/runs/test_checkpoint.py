"""Checkpoints appear whole or not at all, wherever the process that writes them ends."""

import builtins
import errno
import json
import os
import pathlib
import pickle
import shutil
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from helpers.programs import steps_saved
from rmt.runs import checkpoint
from rmt.runs.run_folder import linked
from rmt.runs.weights import read_weights
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


def test_the_best_stays_where_a_kill_left_it_between_two_names(tmp_path):
    """And what is none of ours stays, too."""
    for step in (2, 4):
        save(tmp_path, step, best=step == 2)
    folder = tmp_path / "checkpoints"
    (folder / "step-00000002").rename(folder / "step-00000002.superseded")
    shutil.copytree(folder / "step-00000004", folder / "mine")
    assert checkpoint.point_to_best(tmp_path, 2)
    for step in (6, 8, 10):
        save(tmp_path, step)
    assert checkpoint.find_best(tmp_path, warn=pytest.fail).step == 2
    names = ["mine", "step-00000002.superseded", "step-00000008", "step-00000010"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_best_that_is_lost_is_told(tmp_path):
    for step in (2, 4):
        save(tmp_path, step, best=step == 2)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000002")
    told = []
    assert checkpoint.find_best(tmp_path, warn=told.append).step == 4
    assert "best points to nothing" in told[0]


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
        (nn.Linear(2, 3, bias=False), "there is no bias here"),
        (
            nn.Sequential(nn.Linear(2, 3)),
            "it has no 0.bias, 0.weight; there is no bias, weight",
        ),
    ):
        before = [parameter.clone() for parameter in model.parameters()]
        with pytest.raises(UsageError) as refusal:
            found.load_model(model)
        assert part in str(refusal.value)
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


# Tensors that are one


class Tied(nn.Module):
    """Two names of one tensor, and names of parts of another."""

    def __init__(self, tied: bool = True):
        super().__init__()
        self.embedding, self.softmax = nn.Embedding(5, 3), nn.Linear(3, 5)
        if tied:
            self.softmax.weight = self.embedding.weight
        both = torch.randn(4, 4)
        self.register_buffer("turned", both.t())
        self.register_buffer("upper", both[:2])
        self.register_buffer("middle", both[1:3])
        self.register_buffer("nothing", torch.zeros(0))
        self.register_buffer("nothing_else", torch.zeros(0))


def saved_model(work_dir, model: nn.Module) -> checkpoint.Checkpoint:
    checkpoint.save(work_dir, 1, model.state_dict(), {}, ABOUT, best=False)
    return checkpoint.find(work_dir, warn=pytest.fail)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_tied_tensors_are_kept_once_and_loaded_under_all_their_names(tmp_path):
    model, loaded = Tied(), Tied()
    found = saved_model(tmp_path, model)
    weights = read_weights(found.path / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert weights["softmax.weight"] is weights["embedding.weight"]
    names = safetensors.torch.load_file(found.path / "model.safetensors").keys()
    assert weights.keys() - names == {"softmax.weight"}
    found.load_model(loaded)
    assert_same_weights(loaded, model)
    assert loaded.softmax.weight is loaded.embedding.weight
    plain = Tied(tied=False)
    plain.load_state_dict(weights)
    assert_same_weights(plain, model)


def test_safetensors_itself_restores_the_ties(tmp_path):
    model, loaded = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
    for each in (model, loaded):
        each[1].weight = each[0].weight
    found = saved_model(tmp_path, model)
    safetensors.torch.load_model(loaded, found.path / "model.safetensors")
    assert_same_weights(loaded, model)


def test_tied_weights_of_another_model_are_refused(tmp_path):
    untied = saved_model(tmp_path / "untied", Tied(tied=False))
    with pytest.raises(UsageError, match=r"its embedding\.weight and softmax\.weight differ"):
        untied.load_model(Tied())
    tied = saved_model(tmp_path / "tied", Tied())
    other = Tied()
    other.softmax = nn.Linear(3, 6)
    with pytest.raises(UsageError, match=r"its softmax\.bias is \(5,\), not \(6,\)"):
        tied.load_model(other)
    other.softmax = nn.Linear(3, 5, bias=False)
    other.softmax.weight = nn.Parameter(torch.zeros(6, 3))
    with pytest.raises(UsageError, match=r"there is no softmax\.bias here; its softmax\.weight is"):
        tied.load_model(other)
    del other.softmax
    other.softmax = nn.Linear(4, 5)
    with pytest.raises(UsageError, match=r"its softmax\.weight is \(5, 3\), not \(5, 4\)"):
        tied.load_model(other)


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


@pytest.mark.skipif(sys.platform != "linux", reason="/proc names the files that are open")
def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power cut may leave a checkpoint whose files are empty, and the older ones removed."""
    order, replace, fsync = [], os.replace, os.fsync

    def note_and_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        order.append(os.path.basename(path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_and_fsync)
    monkeypatch.setattr(
        os, "replace", lambda old, new: (order.append(f"> {new.name}"), replace(old, new))
    )
    save(tmp_path, 1)
    assert sorted(order[:3]) == ["manifest.json", "model.safetensors", "training.pt"]
    assert order[3:] == ["> step-00000001", "checkpoints", "> last"]


# Where last and best are no links


def follow_links(work_dir) -> None:
    """What `cp -rL`, zip or a download makes of a run folder."""
    for link in ("last", "best"):
        path = work_dir / link
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            shutil.copytree(target, path)


@pytest.fixture
def without_links(monkeypatch):
    """A file system such as FAT."""

    def refuse(*_, **__):
        raise refuse.error

    refuse.error = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    monkeypatch.setattr(os, "symlink", refuse)
    return refuse


def test_a_run_whose_links_are_real_folders_goes_on(tmp_path):
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    follow_links(tmp_path)
    for step in (3, 4, 5):
        save(tmp_path, step)
        assert (tmp_path / "last").readlink() == Path(f"checkpoints/step-0000000{step}")
        assert checkpoint.find_best(tmp_path, warn=pytest.fail).step == 1
    assert steps_saved(tmp_path) == [1, 4, 5]
    save(tmp_path, 6, best=True)
    assert (tmp_path / "best").readlink() == Path("checkpoints/step-00000006")
    assert steps_saved(tmp_path) == [5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "checkpoints", "last"]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_copy_is_kept_that_is_all_that_is_left_of_a_checkpoint(tmp_path, damaged):
    for step in (1, 2):
        save(tmp_path, step)
    follow_links(tmp_path)
    original = tmp_path / "checkpoints" / "step-00000002"
    if damaged:
        (original / "training.pt").write_bytes(b"")
    else:
        shutil.rmtree(original)
    assert newest(tmp_path) == 2
    save(tmp_path, 3)
    assert steps_saved(tmp_path) == [2, 3]
    assert checkpoint.verify(original).step == 2


def test_a_copy_that_is_all_that_is_left_of_a_run_is_found_and_adopted(tmp_path):
    save(tmp_path / "old", 1, best=True)
    save(tmp_path / "old", 2)
    follow_links(tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "checkpoints")
    assert newest(tmp_path / "old") == 2
    checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "new", 1)
    assert steps_saved(tmp_path / "new") == [1, 2]
    assert newest(tmp_path / "new") == 2
    assert checkpoint.find_best(tmp_path / "new").step == 1
    save(tmp_path / "old", 3)
    assert steps_saved(tmp_path / "old") == [2, 3]


def test_a_folder_that_is_no_checkpoint_is_kept_under_another_name(tmp_path):
    for content in ("mine", "mine, too"):
        (tmp_path / "last").unlink(missing_ok=True)
        (tmp_path / "last").mkdir()
        (tmp_path / "last" / "notes").write_text(content)
        save(tmp_path, 1)
        assert newest(tmp_path) == 1
    kept = [(tmp_path / name / "notes").read_text() for name in ("last.damaged", "last.damaged1")]
    assert kept == ["mine", "mine, too"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)), NotImplementedError(), None],
    ids=["OSError", "NotImplementedError", "PermissionError"],
)
def test_without_links_a_file_holds_the_path(tmp_path, without_links, error):
    without_links.error = error or without_links.error
    save(tmp_path, 1, best=True)
    for step in (2, 3, 4):
        save(tmp_path, step)
    assert (tmp_path / "best").read_text() == "checkpoints/step-00000001\n"
    assert (tmp_path / "last").read_text() == "checkpoints/step-00000004\n"
    assert linked(tmp_path, "last") == tmp_path / "checkpoints" / "step-00000004"
    assert steps_saved(tmp_path) == [1, 3, 4]
    assert checkpoint.find_best(tmp_path, warn=pytest.fail).step == 1
    checkpoint.adopt(checkpoint.find(tmp_path), tmp_path / "new", 1)
    assert checkpoint.find_best(tmp_path / "new", warn=pytest.fail).step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best", "checkpoints", "last", "new"
    ]  # fmt: skip


def test_real_folders_where_there_can_be_no_links(tmp_path, without_links):
    (tmp_path / "last").mkdir()
    save(tmp_path, 1, best=True)
    for link in ("last", "best"):
        (tmp_path / link).unlink()
        shutil.copytree(tmp_path / "checkpoints" / "step-00000001", tmp_path / link)
    save(tmp_path, 2, best=True)
    assert (tmp_path / "best").read_text() == "checkpoints/step-00000002\n"


@pytest.mark.parametrize("content", [b"", b".", b"\xff\0", b"nowhere", b"x" * 5000, b"a\0b"])
def test_a_file_that_leads_nowhere(tmp_path, content):
    save(tmp_path, 1)
    (tmp_path / "best").write_bytes(content)
    assert linked(tmp_path, "best") is None
    assert checkpoint.find_best(tmp_path, warn=pytest.fail).step == 1
    save(tmp_path, 2, best=True)
    assert (tmp_path / "best").is_symlink()


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
    (os, "rename"),
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
@pytest.mark.parametrize("links", ["links", "real folders", "copies alone"])
def test_a_crash_at_any_moment_of_a_save(tmp_path, history, links):
    """What is found afterwards is whole: the checkpoint before this one, or already this one."""
    allowed = {max(history), 4} if history else {None, 4}
    found = []
    for moment in range(100):
        work_dir = tmp_path / str(moment)
        for step in history:
            save(work_dir, step, best=step == 1)
        if links != "links":
            follow_links(work_dir)
        if links == "copies alone":
            shutil.rmtree(work_dir / "checkpoints", ignore_errors=True)
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


@pytest.mark.parametrize("links", ["links", "real folders"])
def test_best_is_put_right_after_a_crash_at_any_moment(tmp_path, links):
    """Whoever goes on from the new checkpoint takes it for the best, else the old one."""
    crashed, found = True, set()
    for moment in range(100):
        work_dir = tmp_path / str(moment)
        save(work_dir, 1, best=True)
        save(work_dir, 2)
        if links != "links":
            follow_links(work_dir)
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, moment)
            try:
                save(work_dir, 4, best=True)
                crashed = False
            except Crash:
                pass
        best = 4 if newest(work_dir) == 4 else 1
        found.add((newest(work_dir), checkpoint.find_best(work_dir).step))
        assert checkpoint.point_to_best(work_dir, best)
        assert checkpoint.find_best(work_dir, warn=pytest.fail).step == best
        save(work_dir, 5)
        assert checkpoint.find_best(work_dir, warn=pytest.fail).step == best
        if not crashed:
            break
    assert not crashed
    assert (4, 1) in found, "else there was nothing to put right"
    assert not checkpoint.point_to_best(work_dir, 1), "removed by now"


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
    checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "new", 1)
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
    checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "new", 1)
    adopted = list((tmp_path / "new").rglob("*"))
    assert len([path for path in adopted if path.is_file()]) == 2 * 3
    assert [path for path in adopted if not path.stat().st_mode & stat.S_IWUSR] == []
    save(tmp_path / "new", 3, best=True)
    assert steps_saved(tmp_path / "new") == [2, 3]


def test_adopting_where_nothing_can_be_written(tmp_path):
    save(tmp_path / "old", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be copied to"):
        checkpoint.adopt(checkpoint.find(tmp_path / "old"), tmp_path / "file" / "sub", 1)
