"""Fetch WikiText-103, enwik8 and text8, check them, and put them where training looks.

getdata.sh runs this file alone, before anything is installed: it imports the standard library
only (Python 3.9 or later) and nothing of this package.

Everything unfinished lies in DATA_DIR/.partial. A corpus is moved to its place after every check,
so that what lies there is whole. An interrupted download stays in .partial and is continued.

For tests and other versions of the corpora, the environment may replace
    RMT_MIRRORS_WT103, RMT_MIRRORS_ENWIK8, RMT_MIRRORS_TEXT8   the addresses, separated by spaces
    RMT_CHECKSUMS    a JSON file with a "checks" object (see CORPORA) for each name that it replaces
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

# "members" lists the names under which an archive or folder may hold each file: nothing else is
# ever unpacked. "checks" holds the known digests and sizes; "archive" is that of the zip file.
# A line counts as one token more (<eos>), as in Transformer-XL.
CORPORA = {
    "wt103": {
        "folder": "wikitext-103",
        "archive": "wikitext-103-v1.zip",
        "mirrors": ["https://wikitext.smerity.com/wikitext-103-v1.zip"],
        "members": {
            f"{split}.txt": [
                f"wikitext-103/wiki.{split}.tokens",
                f"wiki.{split}.tokens",
                f"wikitext-103/{split}.txt",
                f"{split}.txt",
            ]
            for split in ("train", "valid", "test")
        },
        "checks": {
            "archive": {"md5": "9ddaacaf6af0710eda8c456decff7832"},
            "train.txt": {"lines": 1_801_350, "tokens": 103_227_021},
            "valid.txt": {
                "md5": "b465742f79b17b85bad5699479b13301",
                "lines": 3_760,
                "tokens": 217_646,
            },
            "test.txt": {
                "md5": "f202e4c8148839782adc13e7d1ca58e0",
                "lines": 4_358,
                "tokens": 245_569,
            },
        },
    },
    "enwik8": {
        "folder": "enwik8",
        "archive": "enwik8.zip",
        "mirrors": ["http://mattmahoney.net/dc/enwik8.zip", "https://data.deepai.org/enwik8.zip"],
        "members": {"enwik8": ["enwik8", "enwik8/enwik8"]},
        "checks": {
            "archive": {
                "sha256": "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"
            },
            "enwik8": {"md5": "a1fa5ffddb56f4953e226637dabbb36a", "bytes": 100_000_000},
        },
    },
    "text8": {
        "folder": "text8",
        "archive": "text8.zip",
        "mirrors": ["http://mattmahoney.net/dc/text8.zip"],
        "members": {"text8": ["text8", "text8/text8"]},
        "checks": {
            "text8": {"md5": "3bea1919949baf155f99411df5fada7e", "bytes": 100_000_000},
        },
    },
}

# Some hosts refuse the name of a library.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TIMEOUT = 30  # seconds without a byte
BLOCK_BYTES = 1 << 20
DOWNLOAD_BYTES = 1 << 16


class UsageError(Exception):
    """Wrong arguments: exit code 2."""


class DataError(Exception):
    """A download, a checksum or the disk failed: exit code 1."""


class CutError(Exception):
    """Bytes stopped coming: what came is kept, and another try may continue."""


# --- the program ---------------------------------------------------------------------------------


def main(argv: list[str]) -> None:
    """Bring every corpus named on the command line to its place."""
    args = _parse(argv)
    data_dir = Path(args.data_dir)
    corpora = {name: _settings(name) for name in args.names}
    try:
        with _working_folder(data_dir) as partial:
            for name, corpus in corpora.items():
                _get(name, corpus, data_dir, partial, args.source, not args.no_verify)
    except OSError as error:
        raise DataError(f"{error.filename or data_dir}: {error.strerror or error}") from error


def _parse(argv: list[str]) -> argparse.Namespace:
    repository = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(
        prog="getdata.sh",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fetch corpora, check them, and put them where training looks.",
        epilog=(
            "Downloads are continued after an interruption. A corpus that is there and right is "
            "left alone.\nExit code: 0 all there, 1 a download or check failed, 2 wrong "
            "arguments, 130 interrupted.\n\n"
            "examples:\n"
            "  bash getdata.sh wt103\n"
            "  bash getdata.sh enwik8 text8 --data_dir /scratch/data\n"
            "  bash getdata.sh wt103 --from ~/Downloads/wikitext-103-v1.zip"
        ),
    )
    parser.error = _usage_error  # one sentence instead of the usage and a sentence
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"what to fetch: {', '.join(CORPORA)}"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR_OR_FILE",
        help="take the archive or the plain files from here instead of downloading",
    )
    parser.add_argument(
        "--data_dir",
        "--data-dir",
        default=str(repository / "data"),
        metavar="DIR",
        help="where to put them (default: %(default)s)",
    )
    parser.add_argument(
        "--no_verify",
        "--no-verify",
        action="store_true",
        help="accept another version of a corpus: report what differs and go on",
    )
    args = parser.parse_intermixed_args(argv)
    for name in args.names:
        if name not in CORPORA:
            raise UsageError(f"unknown name {name!r}: choose from {', '.join(CORPORA)}")
    if args.source is not None:
        if not Path(args.source).exists():
            raise UsageError(f"there is nothing at --from {args.source}")
        if len(set(args.names)) > 1 and not Path(args.source).is_dir():
            raise UsageError("--from FILE goes with one name; give a folder for several")
    return args


def _usage_error(message: str) -> None:
    missing_name = "the following arguments are required: NAME"
    raise UsageError(message.replace(missing_name, f"name at least one of {', '.join(CORPORA)}"))


def _settings(name: str) -> dict:
    """The entry of CORPORA, with what the environment replaces."""
    corpus = dict(CORPORA[name])
    mirrors = os.environ.get(f"RMT_MIRRORS_{name.upper()}", "").split()
    if mirrors:
        corpus["mirrors"] = mirrors
    table = os.environ.get("RMT_CHECKSUMS")
    if table:
        try:
            checks = json.loads(Path(table).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"RMT_CHECKSUMS names no JSON file: {error}") from error
        corpus["checks"] = checks.get(name, corpus["checks"])
    return corpus


@contextlib.contextmanager
def _working_folder(data_dir: Path):
    """DATA_DIR/.partial, for this process alone; removed at the end if nothing is left in it."""
    partial = data_dir / ".partial"
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another getdata.sh is at work in {data_dir}") from None
        except OSError:
            pass  # some network disks cannot lock a folder
        yield partial
    finally:
        os.close(lock)
        with contextlib.suppress(OSError):
            partial.rmdir()


def _get(
    name: str, corpus: dict, data_dir: Path, partial: Path, source: str | None, verify: bool
) -> None:
    """Bring one corpus to its place."""
    place = data_dir / corpus["folder"]
    download = partial / f"{corpus['archive']}.part"
    if _already_there(corpus, place, verify):
        download.unlink(missing_ok=True)
        print(f"{name}: already complete in {place}")
        return
    unpacked = partial / f"{name}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a process that was killed
    unpacked.mkdir()
    try:
        if source is not None:
            _take(corpus, Path(source), unpacked, verify)
        else:
            _download_and_unpack(name, corpus, download, unpacked, verify)
        _move(unpacked, place)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    download.unlink(missing_ok=True)
    print(f"{name}: complete in {place}")


def _already_there(corpus: dict, place: Path, verify: bool) -> bool:
    """True if every file is there; a file that is there but wrong is the user's to move away."""
    there = [place / file for file in corpus["members"] if (place / file).exists()]
    if verify:
        for path in there:
            problem = _file_problem(path, corpus["checks"].get(path.name, {}))
            if problem:
                raise DataError(
                    f"{problem}: move it away to fetch the published one, or accept it with "
                    "--no_verify"
                )
    return len(there) == len(corpus["members"])


def _move(unpacked: Path, place: Path) -> None:
    """From .partial to its place: one rename for the folder, or one per file if it exists."""
    for path in unpacked.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    try:
        os.rename(unpacked, place)
    except OSError:
        place.mkdir(exist_ok=True)
        for path in sorted(unpacked.iterdir()):
            os.replace(path, place / path.name)


# --- from the user's own files -------------------------------------------------------------------


def _take(corpus: dict, source: Path, unpacked: Path, verify: bool) -> None:
    """Check what the user has at `source`, and unpack or copy it."""
    archive, plain = source, {}
    if source.is_dir():
        archive = source / corpus["archive"]
        for file, members in corpus["members"].items():
            found = [source / member for member in members if (source / member).is_file()]
            if found:
                plain[file] = found[0]
    elif len(corpus["members"]) == 1 and not _looks_like_zip(source):
        plain = {file: source for file in corpus["members"]}
    if len(plain) == len(corpus["members"]):
        for file, path in plain.items():
            _check(path, corpus["checks"].get(file, {}), verify)
            with open(path, "rb") as taken, open(unpacked / file, "wb") as kept:
                _copy(taken, kept, Progress(f"copying {path}", path.stat().st_size))
    elif archive.is_file():
        _check_archive(corpus, archive, verify)
        _unpack(corpus, archive, unpacked)
        _check_files(corpus, unpacked, verify)
    else:
        wanted = ", ".join(members[-1] for members in corpus["members"].values())
        raise DataError(f"{source} holds neither {corpus['archive']} nor {wanted}")


def _looks_like_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


# --- downloading ---------------------------------------------------------------------------------


def _download_and_unpack(
    name: str, corpus: dict, download: Path, unpacked: Path, verify: bool
) -> None:
    """Try the mirrors in turn until one gives an archive that passes every check."""
    for url in corpus["mirrors"]:
        try:
            _from_mirror(url, corpus, download, unpacked, verify)
            return
        except DataError as error:
            print(f"  {url}: {error}", file=sys.stderr)
    raise DataError(
        f"no mirror gave {corpus['archive']}, see above: fetch it in another way and give it with "
        f"bash getdata.sh {name} --from FILE"
    )


def _from_mirror(url: str, corpus: dict, download: Path, unpacked: Path, verify: bool) -> None:
    """Download, check and unpack; DataError if this mirror gives no right archive."""
    while True:
        continued = download.exists()
        _download(url, download)
        try:
            _check_archive(corpus, download, verify)
            _unpack(corpus, download, unpacked)
            _check_files(corpus, unpacked, verify)
            return
        except DataError:
            download.unlink()
            # Where an earlier run or another mirror gave the first bytes, once more from the start.
            if not continued:
                raise


def _download(url: str, path: Path) -> None:
    """All of url into path, continuing what is there; DataError if this mirror cannot give it."""
    size = -1
    while True:
        try:
            _download_once(url, path)
            return
        except CutError as error:
            size_before, size = size, path.stat().st_size if path.exists() else 0
            if size <= max(size_before, 0):  # this try brought nothing new
                raise DataError(str(error)) from error


def _download_once(url: str, path: Path) -> None:
    """One connection."""
    offset = path.stat().st_size if path.exists() else 0
    headers = {"User-Agent": USER_AGENT}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing lies beyond our bytes: the checks will tell
            return
        raise DataError(f"HTTP status {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(str(getattr(error, "reason", "") or error)) from error
    with response:
        if response.status != 206:
            offset = 0  # the server sends everything again
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise DataError("the server sent other bytes than those asked for")
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length is not None else None
        progress = Progress(f"downloading {url}", total, offset)
        with open(path, "ab") as file:
            file.truncate(offset)
            while block := _receive(response):
                file.write(block)
                progress.add(len(block))
            progress.finish()
    if total is not None and path.stat().st_size < total:
        raise CutError("the connection was cut")


def _receive(response: http.client.HTTPResponse) -> bytes:
    """What has come by now, at least one byte; nothing at the end."""
    try:
        return response.read1(DOWNLOAD_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise CutError(f"the connection was cut ({error or type(error).__name__})") from error


# --- archives and checks -------------------------------------------------------------------------


def _unpack(corpus: dict, archive: Path, unpacked: Path) -> None:
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
                    _copy(packed, kept, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} is not a whole zip file ({error})") from error


def _check_archive(corpus: dict, archive: Path, verify: bool) -> None:
    _check(archive, corpus["checks"].get("archive", {}), verify)


def _check_files(corpus: dict, folder: Path, verify: bool) -> None:
    for file in corpus["members"]:
        _check(folder / file, corpus["checks"].get(file, {}), verify)


def _check(path: Path, expected: dict, verify: bool) -> None:
    problem = _file_problem(path, expected)
    if problem and verify:
        raise DataError(problem)
    if problem:
        print(f"  accepted all the same: {problem}", file=sys.stderr)


def _file_problem(path: Path, expected: dict) -> str:
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


# --- progress ------------------------------------------------------------------------------------


class Progress:
    """MB, %, MB/s and time left: one moving line on a terminal, one line at the start elsewhere."""

    def __init__(self, what: str, total: int | None, done: int = 0):
        self.what, self.total = what, total
        self.done = self.done_before = done
        self.start = self.shown = time.monotonic()
        self.moving = sys.stderr.isatty()
        if not self.moving and self.total and self.total > 50_000_000:
            print(f"  {what} ({total / 1e6:.1f} MB)", file=sys.stderr, flush=True)

    def add(self, n_bytes: int) -> None:
        self.done += n_bytes
        now = time.monotonic()
        if self.moving and now - self.shown > 0.2:
            self.shown = now
            self._show(now)

    def finish(self) -> None:
        if self.moving and self.shown > self.start:  # anything faster showed nothing
            self._show(time.monotonic())
            print(file=sys.stderr)

    def _show(self, now: float) -> None:
        speed = (self.done - self.done_before) / max(now - self.start, 1e-9)
        line = f"  {self.what}: {self.done / 1e6:.1f} MB"
        if self.total:
            seconds = int(max(self.total - self.done, 0) / max(speed, 1))
            line += f" of {self.total / 1e6:.1f}, {self.done / self.total:.0%}"
            line += f", {seconds // 60}:{seconds % 60:02d} left"
        print(f"\r\x1b[K{line}, {speed / 1e6:.1f} MB/s", end="", file=sys.stderr, flush=True)


def _copy(source: BinaryIO, target: BinaryIO, progress: Progress) -> None:
    while block := source.read(BLOCK_BYTES):
        target.write(block)
        progress.add(len(block))
    progress.finish()


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(sys.argv[1:])
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
