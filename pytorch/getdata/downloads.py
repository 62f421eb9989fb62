"""Download an archive from the first mirror that has the right one."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from checks import check_archive, check_files, unpack
from errors import DataError
from progress import Progress

# Some hosts refuse the name of a library.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
TIMEOUT = 30  # seconds without a byte
DOWNLOAD_BYTES = 1 << 16


class CutError(Exception):
    """Bytes stopped coming: what came is kept, and another try may continue."""


def download_and_unpack(
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
            check_archive(corpus, download, verify)
            unpack(corpus, download, unpacked)
            check_files(corpus, unpacked, verify)
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
