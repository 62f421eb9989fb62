"""Checkpoints that survive crashes: written beside the old ones, then renamed into place.

A run folder holds

    checkpoints/step-00001000/   model.safetensors  weights
                                 training.pt        everything else that the next step depends on
                                 manifest.json      step, configuration, SHA-256 of the files
                                                    and of itself
    last, best                   links to one of these, or files with its path where the file
                                 system has no links

The two newest checkpoints and the best are kept. Loading verifies the checksums and never executes
a pickle (safetensors; torch.load with weights_only).
"""

import errno
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from rmt.runs.run_folder import (
    LINKS,
    MANIFEST_FILE,
    checkpoint_name,
    linked,
    saved_checkpoints,
)
from rmt.runs.weights import read_weights, set_weights, write_weights
from rmt.runtime.errors import UsageError, remedy, warn_user

MODEL_FILE, TRAINING_FILE = "model.safetensors", "training.pt"
MODEL_ALONE = "model_alone"  # in the manifest of a checkpoint that was saved without training
CONVERTED_FROM = "converted_from"  # in the manifest of published weights, which no run has trained
# Folders that saving makes in checkpoints/, and removes there again.
OURS = re.compile(r"step-\d+(\.superseded)?$|\.step-\d+\.\d+$")


class DamagedCheckpoint(UsageError):
    """A checkpoint that is incomplete or does not match its checksums."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"checkpoint {path} is damaged ({reason})")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose checksums were verified."""

    path: Path
    manifest: dict

    @property
    def step(self) -> int:
        return self.manifest["step"]

    @property
    def is_model_alone(self) -> bool:
        """Whether there is nothing in it that training could go on from."""
        return self.manifest.get(MODEL_ALONE, False)

    def load_model(self, model: nn.Module) -> None:
        """Set the model's weights, raising UsageError where they are another model's."""
        set_weights(model, self.weights(), self.path)

    def weights(self) -> dict[str, Tensor]:
        """By name. Raises UsageError for a file that isn't tensors."""
        file = self.path / MODEL_FILE
        try:
            return read_weights(file)
        except safetensors.SafetensorError as error:
            raise UsageError(
                f"{file} holds no tensors as safetensors writes them ({error}): bring published "
                "weights in with python -m rmt.interop"
            ) from None

    def load_training(self) -> dict:
        """What save got as training. Raises UsageError for a file that isn't plain tensors."""
        try:
            return torch.load(self.path / TRAINING_FILE, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UsageError(
                f"{self.path / TRAINING_FILE} holds more than tensors and numbers and is not "
                "loaded, for it could run any program: begin a new run with these weights, "
                "--init_from"
            ) from None


def save(
    work_dir: Path,
    step: int,
    weights: Mapping[str, Tensor],
    training: dict,
    about: dict,
    best: bool,
) -> Path:
    """Write a checkpoint, point `last` (and `best`) to it, remove those no longer needed.

    about is added to the manifest. training: {} for a model alone, which is not trained on. Raises
    UsageError with the reason if the folder can't be written; what was there before stays as it
    was.
    """
    folder = work_dir / "checkpoints"
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    superseded = folder / f"{final.name}.superseded"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write_weights(temporary / MODEL_FILE, weights)
        with suppress(PermissionError):  # FAT knows no such modes
            # safetensors makes it readable to its owner alone.
            (temporary / MODEL_FILE).chmod(0o644)
        # Through a file of Python's: of one that PyTorch opens it forgets why it can't be written.
        with (temporary / TRAINING_FILE).open("wb") as file:
            torch.save(training, file)
        hashes = {name: _sha256(temporary / name) for name in (MODEL_FILE, TRAINING_FILE)}
        alone = {} if training else {MODEL_ALONE: True}
        manifest = {"step": step, **about, **alone, "sha256": hashes}
        manifest["digest"] = _digest(manifest)
        (temporary / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1) + "\n")
        for file in temporary.iterdir():
            _flush_to_disk(file)
        if final.exists():  # a restart from an earlier step has come by again
            shutil.rmtree(superseded, ignore_errors=True)
            os.replace(final, superseded)  # still found if the next line is never reached
        os.replace(temporary, final)
        shutil.rmtree(superseded, ignore_errors=True)
        _flush_to_disk(folder)
        for link in LINKS if best else ["last"]:
            _link(work_dir / link, final)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        number = _error_number(error)
        if number is None:  # not the disk's fault
            raise
        raise UsageError(
            f"the checkpoint of step {step} could not be written to {folder} "
            f"({os.strerror(number)}); earlier checkpoints are untouched: {remedy(number)} and "
            "--restart"
        ) from error
    _remove_old(work_dir, folder)
    return final


def find(work_dir: Path, warn=warn_user) -> Checkpoint:
    """The newest undamaged checkpoint of a run folder; damaged ones are named through warn.

    Raises UsageError where there is none.
    """
    candidates = saved_checkpoints(work_dir)[::-1]
    if not candidates:
        raise UsageError(f"there is no checkpoint in {work_dir}: train there first")
    damaged: list[DamagedCheckpoint] = []
    for path in candidates:
        try:
            found = verify(path)
        except DamagedCheckpoint as error:
            damaged.append(error)
            continue
        for error in damaged:
            warn(f"{error}; using the one before it")
        return found
    reasons = "; ".join(f"{error.path.name}: {error.reason}" for error in damaged)
    raise UsageError(
        f"every checkpoint in {work_dir} is damaged ({reasons}): train again from the beginning"
    )


def find_best(work_dir: Path, warn=warn_user) -> Checkpoint:
    """The checkpoint with the best validation loss; without one, the newest. Errors as of find."""
    best, trouble = linked(work_dir, "best"), None
    if best is not None:
        try:
            return verify(best)
        except DamagedCheckpoint as error:
            trouble = f"{error}; using the newest undamaged one"
    elif (work_dir / "best").is_symlink():
        trouble = f"{work_dir / 'best'} points to nothing; using the newest checkpoint"
    found = find(work_dir, warn)
    if trouble:
        warn(trouble)
    return found


def _of_step(work_dir: Path, step: int) -> Checkpoint | None:
    """The undamaged checkpoint of a step, if there is one."""
    for path in saved_checkpoints(work_dir):
        if checkpoint_name(path) == f"step-{step:08d}":
            with suppress(DamagedCheckpoint):
                return verify(path)
    return None


def point_to_best(work_dir: Path, step: int) -> bool:
    """Let `best` be the checkpoint of a step; False where there is no such one, or a damaged one.

    A process that was killed while it saved may have left `best` at an older one; and from an
    earlier checkpoint a run comes by the steps again that had been better.
    """
    best = _of_step(work_dir, step)
    if best is None:
        return False
    if linked(work_dir, "best") != best.path.resolve():
        _link(work_dir / "best", best.path)
    return True


def adopt(found: Checkpoint, work_dir: Path, best_step: int) -> None:
    """Copy a checkpoint of another run folder into this one, and the best that it knows of."""
    source = found.path.parent if found.path.name in LINKS else found.path.parents[1]
    wanted = {"last": found}
    if best := _of_step(source, best_step):
        wanted["best"] = best
    try:
        for link, of in wanted.items():
            final = work_dir / "checkpoints" / checkpoint_name(of.path)
            if not final.exists():
                temporary = final.with_name(f".{final.name}.{os.getpid()}")
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                # Not copytree: the copy of a read-only run could neither be pruned nor removed.
                for name in (MODEL_FILE, TRAINING_FILE, MANIFEST_FILE):
                    shutil.copyfile(of.path / name, temporary / name)
                    _flush_to_disk(temporary / name)
                os.replace(temporary, final)
            _link(work_dir / link, final)
    except (OSError, shutil.Error) as error:
        raise UsageError(f"{found.path} can't be copied to {work_dir} ({error})") from error


def verify(path: Path) -> Checkpoint:
    """Open a checkpoint folder, raising DamagedCheckpoint if a file is missing or was changed."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_text())
        expected = manifest["sha256"]
        wrong = [name for name in expected if _sha256(path / name) != expected[name]]
        if manifest["digest"] != _digest(manifest):
            wrong.append(MANIFEST_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(path, str(error)) from None
    if wrong:
        raise DamagedCheckpoint(path, f"{', '.join(wrong)} has changed")
    return Checkpoint(path, manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(manifest: dict) -> str:
    """SHA-256 of a manifest but for the digest that it holds itself."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _error_number(error: BaseException | None) -> int | None:
    """Why the system refused, which PyTorch and safetensors report as errors of their own kinds."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        # The second spelling is of safetensors before 0.6.
        if found := re.search(r"\((?:os error|Os \{ code:) (\d+)", str(error)):
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(link: Path, target: Path) -> None:
    """Point a symbolic link to a folder beside it, atomically; see run_folder.linked."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    path = os.path.relpath(target, link.parent)
    try:
        try:
            temporary.symlink_to(path)
        except (OSError, NotImplementedError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            # There are no links here; or no file can be written either, which is then the reason.
            temporary.write_text(f"{path}\n", "utf-8")
            _flush_to_disk(temporary)
        if link.is_dir() and not link.is_symlink():
            _put_away(link, target.parent)
        os.replace(temporary, link)
    finally:
        temporary.unlink(missing_ok=True)


def _put_away(copy: Path, folder: Path) -> None:
    """Make room for a link where a run that was copied with links followed has a real folder.

    Where the checkpoint that it is a copy of is lost, the copy takes its place. What is no whole
    checkpoint is kept under another name.
    """
    _make_writable(copy)
    name = checkpoint_name(copy)
    if name and _is_whole(folder / name):
        shutil.rmtree(copy)
    elif _is_whole(copy):
        if (folder / name).exists():
            shutil.rmtree(folder / name)  # else the copy would be moved into it
        shutil.move(copy, folder / name)
    else:
        names = (copy.with_name(f"{copy.name}.damaged{n or ''}") for n in itertools.count())
        copy.rename(next(path for path in names if not path.exists()))


def _is_whole(path: Path) -> bool:
    try:
        return bool(verify(path))
    except DamagedCheckpoint:
        return False


def _remove_old(work_dir: Path, folder: Path) -> None:
    keep = {path.name for path in sorted(folder.glob("step-*"))[-2:]}
    meant = filter(None, (linked(work_dir, link) for link in LINKS))
    for path in meant:  # a link to a copy means the checkpoint that it is a copy of, too
        keep |= {path.name, checkpoint_name(path)}
    for path in folder.iterdir():
        if path.name not in keep and OURS.match(path.name):
            _make_writable(path)
            shutil.rmtree(path, ignore_errors=True)


def _make_writable(folder: Path) -> None:
    """So that it can be moved and removed, also where it was copied from a read-only run."""
    with suppress(OSError):
        folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
