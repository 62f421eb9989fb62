"""Files that are written as a whole or not at all."""

import os
import threading
from pathlib import Path

import pytest

from rmt.runtime.errors import UsageError
from rmt.runtime.files import check_can_write, new_file, new_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_when_it_is_complete(tmp_path):
    target = tmp_path / "scores.json"
    with new_file(target) as file:
        file.write(b"half")
        file.flush()
        assert not target.exists()
    assert target.read_text() == "half"
    assert names(tmp_path) == ["scores.json"]


@pytest.mark.parametrize("error", [BrokenPipeError(32, "x"), FileNotFoundError(2, "x", "other")])
@pytest.mark.parametrize("write", [new_file, new_folder])
def test_what_fails_beside_it_is_not_blamed_on_it(tmp_path, write, error):
    """As the pipe of `| head`, or another file that is read for it. Nothing is left behind."""
    with pytest.raises(type(error)), write(tmp_path / "target"):
        raise error
    assert names(tmp_path) == []


def test_a_full_disk_is_named(tmp_path):
    full = pytest.raises(UsageError, match=r"scores can't be written .No space left")
    with full, new_file(tmp_path / "scores"):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_link_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    kept, link = tmp_path / "elsewhere" / "kept", tmp_path / "link"
    link.symlink_to(kept)
    for text in ("new", "newer"):
        write_text(link, text)
        assert (link.readlink(), kept.read_text()) == (kept, text)
    assert names(kept.parent) == ["kept"]


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    check_can_write(pipe)
    write_text(pipe, "scores")
    reader.join(timeout=10)
    assert read == ["scores"]
    assert pipe.is_fifo()


def test_what_can_not_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "absent" / "file", tmp_path / ("long" * 100)):
        for attempt in (check_can_write, lambda path: write_text(path, "")):
            with pytest.raises(UsageError, match="can't be written"):
                attempt(path)
