"""An encoded corpus on disk: one raw array of ids per split, and corpus.json beside them.

A folder appears under its name only when it is complete, and is read only if it is whole.
"""

import errno
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rmt.data.text.encoding import id_type
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root

FORMAT = 1  # goes up when the same source and options give different files
DESCRIPTION = "corpus.json"
ELSEWHERE = "name another place with --encoded_dir"


class Encoded(NamedTuple):
    """What a folder holds: the ids of every split are read-only memory maps.

    documents: of splits that have several, the places of their first tokens.
    """

    vocabulary: Vocabulary
    splits: dict[str, np.ndarray]
    documents: dict[str, list[int]]


def default_encoded_dir() -> Path:
    """Where encoded data lies unless an option says otherwise: data/encoded in the checkout if that
    can be written, else ~/.cache/rmt. Raises UsageError where there is no home folder."""
    data = project_root() / "data"
    if data.is_dir() and os.access(data, os.W_OK):
        return data / "encoded"
    try:
        return Path.home() / ".cache" / "rmt"
    except RuntimeError:
        raise UsageError(
            f"there is no home folder to keep the encoded data in, for HOME is not set: {ELSEWHERE}"
        ) from None


def open_encoded(folder: Path, fingerprint: str) -> Encoded | None:
    """What a folder holds; None where it is absent or damaged.

    Every file must have its exact size and checksum (CRC-32, about a second per GB).
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        if (description["format"], description["fingerprint"]) != (FORMAT, fingerprint):
            return None
        vocabulary = Vocabulary.from_json(description["vocabulary"])
        arrays = {}
        for split, facts in description["splits"].items():
            array = np.memmap(_array_file(folder, split), id_type(len(vocabulary)), mode="r")
            if len(array) != facts["tokens"] or zlib.crc32(array) != facts["crc32"]:
                return None
            arrays[split] = array
        documents = dict(description.get("documents", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Encoded(vocabulary, arrays, documents)


def opened_or_made(folder: Path, fingerprint: str, make: Callable[[], None]) -> Encoded:
    """What open_encoded gives, after make() where that is nothing.

    UsageError if there is still nothing then.
    """
    encoded = open_encoded(folder, fingerprint)
    if encoded is None:
        make()
        encoded = open_encoded(folder, fingerprint)
    if encoded is None:
        raise UsageError(
            f"what was just written to {folder} cannot be read back: see that disk, or {ELSEWHERE}"
        )
    return encoded


def write_encoded(
    folder: Path,
    fingerprint: str,
    options: Mapping[str, Any],
    vocabulary: Vocabulary,
    splits: Mapping[str, Iterator[np.ndarray]],
    documents: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write the blocks of ids of every split, then give the folder its name in one step.

    documents: of every split, where its documents start; looked at when the blocks are written.

    A process that wrote the same folder meanwhile wins. UsageError if the disk is full or the
    place cannot be written; neither that nor an interrupt leaves anything behind.
    """
    unfinished = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(parents=True)
        description = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "options": dict(options),
            "splits": {
                split: _write_array(_array_file(unfinished, split), blocks)
                for split, blocks in splits.items()
            },
            "vocabulary": vocabulary.to_json(),
        }
        several = {split: starts for split, starts in (documents or {}).items() if len(starts) > 1}
        if several:
            description["documents"] = several
        with open(unfinished / DESCRIPTION, "w", encoding="utf-8") as file:
            json.dump(description, file, ensure_ascii=False)
            _to_disk(file)
        _publish(unfinished, folder, fingerprint)
    except OSError as error:
        raise UsageError(
            f"cannot write the encoded corpus to {folder}: {error.strerror or error}; "
            f"make room there, or {ELSEWHERE}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_array(path: Path, blocks: Iterator[np.ndarray]) -> dict[str, int]:
    tokens = crc32 = 0
    with open(path, "wb") as file:
        for ids in blocks:
            file.write(ids.data)
            tokens += len(ids)
            crc32 = zlib.crc32(ids, crc32)
        _to_disk(file)
    return {"tokens": tokens, "crc32": crc32}


def _publish(unfinished: Path, folder: Path, fingerprint: str) -> None:
    try:
        os.rename(unfinished, folder)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
    if open_encoded(folder, fingerprint) is not None:
        return  # another process was faster
    damaged = unfinished.with_name(f"{unfinished.name}.damaged")
    os.rename(folder, damaged)
    os.rename(unfinished, folder)
    shutil.rmtree(damaged, ignore_errors=True)


def _array_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.bin"


def _to_disk(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())
