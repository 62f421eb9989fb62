"""The run folder: configuration, log lines, metrics, TensorBoard curves and the result of one run.

config.json     every option of the run
log.txt         the lines that were printed
metrics.jsonl   one JSON object per log or evaluation
events.*        the same for TensorBoard
vocabulary.json what the model's ids stand for
kept/           copies of what else the model and its tokens are made of (a pretrained one)
result.json     written at the end
"""

import fcntl
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError, dropped_where_nobody_reads, remedy
from rmt.runtime.files import checkout, write_bytes, write_text

LOCK = ".lock"
VOCABULARY = "vocabulary.json"
KEPT = "kept"
LINKS = ("last", "best")  # to checkpoints
MANIFEST_FILE = "manifest.json"  # of a checkpoint


class RunFolder:
    """Writes one run's files; path None keeps nothing and only prints."""

    def __init__(self, path: Path | None, *, printing: bool = True):
        self.path = path
        self.printing = printing
        self.progress = None  # a bar that log lines must not break
        self._curves = None
        if path:
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._lock = (path / LOCK).open("w")
                if not _take(self._lock):
                    raise UsageError(
                        f"another process is writing the run in {path}: wait until it ends, or "
                        "choose another --work_dir"
                    )
                text = {"encoding": "utf-8", "errors": "backslashreplace"}  # a path may be no text
                self._log = (path / "log.txt").open("a", **text)
                self._metrics = (path / "metrics.jsonl").open("a")
            except OSError as error:
                raise UsageError(
                    f"the run folder {path} can't be written ({error.strerror}): choose another "
                    "--work_dir"
                ) from None

    def log(self, line: str) -> None:
        """Print a line and keep it in log.txt."""
        if self.path:
            self._write(self._log, line + "\n")
        if self.printing:
            with dropped_where_nobody_reads():  # the file has it
                (self.progress.print if self.progress else print)(line)

    def record(self, kind: str, step: int, **values) -> None:
        """Keep one object in metrics.jsonl and its numbers as TensorBoard curves."""
        if not self.path:
            return
        self._write(self._metrics, json.dumps({"kind": kind, "step": step, **values}) + "\n")
        if self._curves is None:
            self._curves = (self.path / events_name()).open("ab")
            self._write(self._curves, _event(file_version="brain.Event:2"))
            self._write(self._curves, _event(step=step, session_log={"status": "START"}))
        curves = [
            {"tag": f"{kind}/{name}", "simple_value": value}
            for name, value in values.items()
            if isinstance(value, int | float)
        ]
        self._write(self._curves, _event(step=step, summary={"value": curves}))

    def forget_after(self, step: int) -> None:
        """Drop metrics of later steps and of the test at the end.

        A run that goes on from a checkpoint makes them again.
        """
        if not self.path:
            return
        lines = []
        for line in (self.path / "metrics.jsonl").read_text().splitlines():
            try:
                entry = json.loads(line)
                keep = entry["step"] <= step and entry["kind"] != "test"
            except (ValueError, KeyError):
                keep = False  # the process was killed while it wrote this line
            if keep:
                lines.append(line + "\n")
        self._metrics.close()
        write_text(self.path / "metrics.jsonl", "".join(lines))
        self._metrics = (self.path / "metrics.jsonl").open("a")

    def remove(self, name: str) -> None:
        if self.path:
            (self.path / name).unlink(missing_ok=True)

    def write_json(self, name: str, value: dict) -> None:
        if self.path:
            write_text(self.path / name, json.dumps(value, indent=1) + "\n")

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        """So that the model can be used where its training text is not."""
        if self.path:
            write_text(self.path / VOCABULARY, json.dumps(vocabulary.to_json(), ensure_ascii=False))

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Files by name, in kept/: as the vocabulary, for where they are not."""
        if self.path and files:
            (self.path / KEPT).mkdir(exist_ok=True)
            for name, content in files.items():
                write_bytes(self.path / KEPT / name, content)

    def close(self) -> None:
        if self.path:
            self._log.close()
            self._metrics.close()
            self._lock.close()
        if self._curves is not None:
            self._curves.close()

    def _write(self, file, content: str | bytes) -> None:
        try:
            file.write(content)
            file.flush()
        except OSError as error:
            raise UsageError(
                f"{file.name} can't be written ({error.strerror}): {remedy(error.errno)} and "
                "--restart"
            ) from error


def saved_checkpoints(work_dir: Path) -> list[Path]:
    """The checkpoints of a run folder, the oldest first, damaged or not.

    A real folder in the place of a link is a copy of one, and maybe all that is left of it.
    """
    copies = [work_dir / link for link in LINKS if not (work_dir / link).is_symlink()]
    of_copies = [(checkpoint_name(path), path) for path in copies]
    in_place = [(path.name, path) for path in (work_dir / "checkpoints").glob("step-*")]
    # What is in its place comes after its copy, for it is as good or newer.
    found = [*(pair for pair in of_copies if pair[0]), *in_place]
    return [path for _, path in sorted(found, key=lambda pair: pair[0])]


def checkpoint_name(path: Path) -> str | None:
    """What a checkpoint is called in checkpoints/, by its manifest; None where it has none."""
    try:
        return f"step-{json.loads((path / MANIFEST_FILE).read_text())['step']:08d}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def linked(work_dir: Path, link: str) -> Path | None:
    """The checkpoint that `last` or `best` stands for; None where that leads nowhere.

    It is a symbolic link, or a small file with the path where there can be none (git and zip make
    such a file of a link, too), or a real folder where a run was copied with links followed.
    """
    place = work_dir / link
    try:
        if place.is_file():
            place = work_dir / place.read_text("utf-8").strip()
        return place.resolve() if place != work_dir and place.is_dir() else None
    except (OSError, ValueError):  # a file that holds something else
        return None


def in_use(path: Path) -> bool:
    """Whether a process is writing a run folder."""
    try:
        with (path / LOCK).open("r+") as lock:  # NFS locks what is open for writing alone
            return not _take(lock)
    except OSError:
        return False


def _take(lock: io.TextIOBase) -> bool:
    """Whether the lock was free, or the file system knows none. Closing the file releases it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def events_name() -> str:
    """A new name for a file of curves, as TensorBoard looks for them."""
    return f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}"


def _event(**content) -> bytes:
    """One record of a TensorBoard event file; a START tells it to drop what later steps left.

    Not torch's SummaryWriter: its thread answers a full disk with a traceback, and a killed run
    would lose two minutes of curves.
    """
    # Imported late: it takes a second that runs without a folder need not spend.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    record = io.BytesIO()
    event = Event(wall_time=time.time(), **content)
    RecordWriter(record).write(event.SerializeToString())
    return record.getvalue()


def environment() -> dict:
    """Versions and source state that a number depends on."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "numpy", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"versions": versions, "git_commit": _git_commit()}


def _git_commit() -> str | None:
    """That of this project's checkout; None where there is none, or git can't tell.

    An installed package, or a copy of the sources, may lie in another project's repository.
    """
    root = checkout()
    if root is None or not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
