"""Fetch WikiText-103, enwik8 and text8, check them, and put them where training looks.

getdata.sh runs this folder alone, before anything is installed: it imports the standard library
only (Python 3.9 or later) and nothing of rmt.

Everything unfinished lies in DATA_DIR/.partial. A corpus is moved to its place after every check,
so that what lies there is whole. An interrupted download stays in .partial and is continued.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

from checks import check, check_archive, check_files, file_problem, unpack
from corpora import CORPORA, settings
from downloads import download_and_unpack
from errors import DataError, UsageError
from progress import Progress, copy


def main(argv: list[str]) -> None:
    """Bring every corpus named on the command line to its place."""
    args = _parse(argv)
    data_dir = Path(args.data_dir)
    corpora = {name: settings(name) for name in args.names}
    try:
        with _working_folder(data_dir) as partial:
            for name, corpus in corpora.items():
                _get(name, corpus, data_dir, partial, args.source, not args.no_verify)
    except OSError as error:
        raise DataError(f"{error.filename or data_dir}: {error.strerror or error}") from error


def _parse(argv: list[str]) -> argparse.Namespace:
    repository = Path(__file__).resolve().parents[2]
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
            download_and_unpack(name, corpus, download, unpacked, verify)
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
            problem = file_problem(path, corpus["checks"].get(path.name, {}))
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
            check(path, corpus["checks"].get(file, {}), verify)
            with open(path, "rb") as taken, open(unpacked / file, "wb") as kept:
                copy(taken, kept, Progress(f"copying {path}", path.stat().st_size))
    elif archive.is_file():
        check_archive(corpus, archive, verify)
        unpack(corpus, archive, unpacked)
        check_files(corpus, unpacked, verify)
    else:
        wanted = ", ".join(members[-1] for members in corpus["members"].values())
        raise DataError(f"{source} holds neither {corpus['archive']} nor {wanted}")


def _looks_like_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


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
