"""The project's own folders, and files that are written as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rmt.runtime.errors import UsageError

# Where `import rmt` finds this package: for processes that this one starts.
SOURCE = Path(__file__).resolve().parents[2]


def checkout() -> Path | None:
    """The source checkout this package belongs to; None where it is installed."""
    root = SOURCE.parent
    return root if SOURCE.name == "pytorch" and (root / "run_scripts").is_dir() else None


def project_root() -> Path:
    """The source checkout this package belongs to; the current folder where it is installed."""
    return checkout() or Path.cwd()


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all. Raises UsageError where that can't be done."""
    with new_file(path) as file:
        file.write(content)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which has its name when it is complete, and is gone where it is not.

    Of a link it is the file that it leads to. A pipe or a device is written to as it is. Raises
    UsageError where it can't be written.
    """
    if _is_pipe_or_device(path):
        with _failures_said(path, path), path.open("wb") as file:
            yield file
        return
    temporary = _unfinished(path)
    try:
        with _failures_said(path, temporary):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, os.path.realpath(path))
    finally:
        with suppress(OSError):  # it is there only after an error
            temporary.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which has its name when it is complete, and is gone where it is not.

    Raises UsageError where it can't be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _failures_said(path, unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            unfinished.mkdir(parents=True)
            yield unfinished
            os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _failures_said(path: Path, written: Path) -> Iterator[None]:
    """Raise UsageError where what is written for a path can't be; other errors are not its own.

    An error names the file that could not be opened, and none where writing failed.
    """
    try:
        yield
    except BrokenPipeError:  # of whoever read what was printed, or of a pipe that was written to
        raise
    except OSError as error:
        if error.filename and not str(error.filename).startswith(str(written)):
            raise
        raise UsageError(f"{path} can't be written ({error.strerror or error})") from error


def check_can_write(path: Path) -> None:
    """Raise UsageError where new_file can't write, before there is anything to be written."""
    if _is_pipe_or_device(path):
        return
    temporary = _unfinished(path)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise UsageError(f"{path} can't be written ({error.strerror})") from error


def _is_pipe_or_device(path: Path) -> bool:
    # Not Path's own methods: they raise for a name that is too long.
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _unfinished(path: Path) -> Path:
    """What a file is called until it is complete. Raises UsageError where a folder has its name."""
    if os.path.isdir(path):
        raise UsageError(f"{path} can't be written: it is a folder")
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name}.{os.getpid()}")
