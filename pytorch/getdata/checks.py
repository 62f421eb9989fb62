"""Unpack archives, and check that files are the published ones."""

from __future__ import annotations

import hashlib
import sys
import zipfile
import zlib
from pathlib import Path

from errors import DataError
from progress import BLOCK_BYTES, Progress, copy


def unpack(corpus: dict, archive: Path, unpacked: Path) -> None:
    """The expected members, each under our own name: no path in the archive is ever followed."""
    try:
        with zipfile.ZipFile(archive) as contents:
            sizes = {info.filename: info.file_size for info in contents.infolist()}
            for file, members in corpus["members"].items():
                member = next((m for m in members if m in sizes), None)
                if member is None:
                    raise DataError(f"{archive} holds no {' or '.join(members)}")
                progress = Progress(f"unpacking {member}", sizes[member])
                with contents.open(member) as packed, open(unpacked / file, "wb") as kept:
                    copy(packed, kept, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} is not a whole zip file ({error})") from error


def check_archive(corpus: dict, archive: Path, verify: bool) -> None:
    check(archive, corpus["checks"].get("archive", {}), verify)


def check_files(corpus: dict, folder: Path, verify: bool) -> None:
    for file in corpus["members"]:
        check(folder / file, corpus["checks"].get(file, {}), verify)


def check(path: Path, expected: dict, verify: bool) -> None:
    problem = file_problem(path, expected)
    if problem and verify:
        raise DataError(problem)
    if problem:
        print(f"  accepted all the same: {problem}", file=sys.stderr)


def file_problem(path: Path, expected: dict) -> str:
    """What differs from the expected digests and counts, or an empty string."""
    digests = {
        name: hashlib.new(name, usedforsecurity=False)
        for name in ("md5", "sha256")
        if name in expected
    }
    found = {"bytes": 0, "lines": 0, "tokens": 0}
    count_tokens = "tokens" in expected
    rest = b""  # of a word that goes on in the next block
    progress = Progress(f"checking {path.name}", path.stat().st_size)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            for digest in digests.values():
                digest.update(block)
            found["bytes"] += len(block)
            progress.add(len(block))
            if count_tokens:
                block = rest + block
                stop = max(block.rfind(b" "), block.rfind(b"\n")) + 1
                found["tokens"] += _n_words(block[:stop])
                found["lines"] += block.count(b"\n", 0, stop)
                rest = block[stop:]
    progress.finish()
    found["tokens"] += _n_words(rest) + found["lines"]  # <eos> after each line
    found.update({name: digest.hexdigest() for name, digest in digests.items()})
    for name, value in expected.items():
        if found[name] != value:
            return f"{path} is not the published one: {name} {found[name]} instead of {value}"
    return ""


def _n_words(text: bytes) -> int:
    return len(text.decode("utf-8", errors="replace").split())
