"""getdata.sh against an HTTP server on this machine that fails in the ways servers fail."""

import hashlib
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = {
    "train.txt": " \n = Title = \n \n" + " the cat sat on the mat . \n" * 4000,
    "valid.txt": " the cat — sat \n",
    "test.txt": " the mat sat \n \n",
}


def zip_of(members, comment=b""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored, so that it is long enough to be cut
        archive.comment = comment
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


WT103_ZIP = zip_of(
    {f"wikitext-103/wiki.{name.split('.')[0]}.tokens": text for name, text in TEXT.items()}
)
ENWIK8 = bytes(range(256)) * 500
ENWIK8_ZIP = zip_of({"enwik8": ENWIK8})


def checks_of_text(text):
    return {
        "md5": hashlib.md5(text.encode()).hexdigest(),
        "lines": text.count("\n"),
        "tokens": len(text.split()) + text.count("\n"),
    }


CHECKS = {
    "wt103": {
        "archive": {"md5": hashlib.md5(WT103_ZIP).hexdigest()},
        **{name: checks_of_text(text) for name, text in TEXT.items()},
    },
    "enwik8": {
        "archive": {"sha256": hashlib.sha256(ENWIK8_ZIP).hexdigest()},
        "enwik8": {"md5": hashlib.md5(ENWIK8).hexdigest(), "bytes": len(ENWIK8)},
    },
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; faults[path] holds one function per request that is to go wrong.

    A fault gets the handler and the bytes that would be sent, and sends what it likes.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.requests = {}, {}, []
        self.released = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers))
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start and start >= len(content):
            return self.send_error(416)
        faults = self.server.faults.get(self.path)
        if faults:
            return faults.pop(0)(self, content)
        self.send_content(content, start)

    def send_content(self, content, start=0, sent=None):
        """Announce content[start:], and send it or only as far as content[:sent]."""
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:sent])

    def log_message(self, *args):
        pass


def cut(handler, content):
    handler.send_content(content, sent=len(content) // 2)


def ignore_range(handler, content):
    handler.send_content(content)


@pytest.fixture
def server():
    server = Server()
    server.files = {"/wt103.zip": WT103_ZIP, "/enwik8.zip": ENWIK8_ZIP}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def environment(server, tmp_path):
    table = tmp_path / "checks.json"
    table.write_text(json.dumps(CHECKS))
    return {
        "PATH": os.environ["PATH"],
        "no_proxy": "127.0.0.1",
        "RMT_CHECKSUMS": str(table),
        "RMT_MIRRORS_WT103": server.url("/wt103.zip"),
        "RMT_MIRRORS_ENWIK8": server.url("/enwik8.zip"),
        "RMT_MIRRORS_TEXT8": server.url("/text8.zip"),
    }


@pytest.fixture
def getdata(environment, tmp_path):
    """getdata(*arguments, **changed environment) -> (exit code, output with errors)."""

    def getdata(*arguments, **changes):
        done = subprocess.run(
            ["bash", REPOSITORY / "getdata.sh", *arguments, "--data_dir", tmp_path / "data"],
            env={**environment, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    return getdata


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


WT103_FILES = [f"wikitext-103/{split}.txt" for split in ("test", "train", "valid")]


def assert_wt103_is_complete(data):
    assert files_in(data) == WT103_FILES
    for name, text in TEXT.items():
        assert (data / "wikitext-103" / name).read_text() == text
    assert not (data / ".partial").exists()


# --- downloading ---------------------------------------------------------------------------------


def test_downloads_into_place_and_then_skips(getdata, server, tmp_path):
    code, output = getdata("wt103", "enwik8")
    assert code == 0, output
    assert (tmp_path / "data" / "enwik8" / "enwik8").read_bytes() == ENWIK8
    assert files_in(tmp_path / "data") == ["enwik8/enwik8", *WT103_FILES]
    assert all("Mozilla" in headers["User-Agent"] for _, headers in server.requests)
    n_requests = len(server.requests)
    code, output = getdata("wt103", "enwik8")
    assert code == 0
    assert output.count("already complete") == 2
    assert len(server.requests) == n_requests


def test_continues_after_a_cut(getdata, server, tmp_path):
    server.faults["/wt103.zip"] = [cut]
    code, output = getdata("wt103")
    assert code == 0, output
    assert server.ranges == [None, f"bytes={len(WT103_ZIP) // 2}-"]
    assert_wt103_is_complete(tmp_path / "data")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_continues_after_an_interrupted_run_even_from_another_mirror(
    getdata, server, environment, tmp_path, stop
):
    def interrupt(handler, content):
        client.send_signal(stop)
        server.released.wait(timeout=30)  # send nothing until the client is gone

    server.faults["/wt103.zip"] = [cut, interrupt]
    client = subprocess.Popen(
        ["bash", REPOSITORY / "getdata.sh", "wt103", "--data_dir", tmp_path / "data"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _, errors = client.communicate(timeout=60)
    server.released.set()
    assert client.returncode == 130
    assert "Traceback" not in errors
    assert files_in(tmp_path / "data") == [".partial/wikitext-103-v1.zip.part"]
    server.files["/other.zip"] = WT103_ZIP
    code, output = getdata("wt103", RMT_MIRRORS_WT103=server.url("/other.zip"))
    assert code == 0, output
    assert server.ranges[-1] == f"bytes={len(WT103_ZIP) // 2}-"
    assert_wt103_is_complete(tmp_path / "data")


def test_a_complete_partial_file_is_not_fetched_again(getdata, server, tmp_path):
    partial = tmp_path / "data" / ".partial"
    partial.mkdir(parents=True)
    (partial / "wikitext-103-v1.zip.part").write_bytes(WT103_ZIP)
    code, output = getdata("wt103")
    assert code == 0, output
    assert server.ranges == [f"bytes={len(WT103_ZIP)}-"]
    assert_wt103_is_complete(tmp_path / "data")


def test_a_server_that_ignores_the_range_starts_again(getdata, server, tmp_path):
    server.faults["/wt103.zip"] = [cut, ignore_range]
    code, output = getdata("wt103")
    assert code == 0, output
    assert_wt103_is_complete(tmp_path / "data")


def test_wrong_bytes_from_an_earlier_run_are_thrown_away(getdata, server, tmp_path):
    partial = tmp_path / "data" / ".partial"
    partial.mkdir(parents=True)
    (partial / "wikitext-103-v1.zip.part").write_bytes(b"?" * 1000)
    code, output = getdata("wt103")
    assert code == 0, output
    assert server.ranges == ["bytes=1000-", None]
    assert_wt103_is_complete(tmp_path / "data")


def test_dead_mirrors_are_passed_over(getdata, server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}/wt103.zip"
        mirrors = f"{refused} not-an-address {server.url('/absent.zip')} {server.url('/wt103.zip')}"
        code, output = getdata("wt103", RMT_MIRRORS_WT103=mirrors)
    assert code == 0, output
    assert "404" in output
    assert_wt103_is_complete(tmp_path / "data")


def test_no_mirror_left(getdata, server, tmp_path):
    code, output = getdata("wt103", RMT_MIRRORS_WT103=server.url("/absent.zip"))
    assert code == 1
    assert "error: no mirror gave wikitext-103-v1.zip" in output
    assert "bash getdata.sh wt103 --from" in output
    assert files_in(tmp_path / "data") == []


def test_wrong_checksum_goes_to_the_next_mirror(getdata, server, tmp_path):
    server.files["/tampered.zip"] = WT103_ZIP.replace(b"sat on", b"sat in", 1)
    tampered, right = server.url("/tampered.zip"), server.url("/wt103.zip")
    code, output = getdata("wt103", RMT_MIRRORS_WT103=f"{tampered} {right}")
    assert code == 0, output
    assert "md5" in output
    assert server.ranges == [None, None], "nothing of the tampered archive is continued"
    assert_wt103_is_complete(tmp_path / "data")


def test_wrong_checksum_everywhere_leaves_nothing(getdata, server, tmp_path):
    server.files["/wt103.zip"] = WT103_ZIP[:-1] + b"?"
    code, output = getdata("wt103")
    assert code == 1
    assert "is not the published one: md5" in output
    assert not (tmp_path / "data" / ".partial").exists()
    assert files_in(tmp_path / "data") == []


def with_checks(tmp_path, name, checks):
    table = tmp_path / "other.json"
    table.write_text(json.dumps({name: checks}))
    return {"RMT_CHECKSUMS": str(table)}


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (WT103_ZIP[: len(WT103_ZIP) // 2], "is not a whole zip file"),
        (b"<html>Please log in</html>", "is not a whole zip file"),
        (zip_of({"wikitext-103/wiki.train.tokens": "the"}), r"holds no wikitext-103/wiki.valid"),
    ],
)
def test_bad_archives_without_a_checksum(getdata, server, tmp_path, archive, problem):
    server.files["/wt103.zip"] = archive
    code, output = getdata("wt103", **with_checks(tmp_path, "wt103", {}))
    assert code == 1
    assert problem in output
    assert files_in(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/rmt-test-escaped", "enwik8/../../escaped"])
def test_archive_members_with_other_names_go_nowhere(getdata, server, tmp_path, name):
    server.files["/enwik8.zip"] = zip_of({name: "evil", "enwik8": ENWIK8})
    checks = {"enwik8": CHECKS["enwik8"]["enwik8"]}
    code, output = getdata("enwik8", **with_checks(tmp_path, "enwik8", checks))
    assert code == 0, output
    assert files_in(tmp_path) == ["checks.json", "data/enwik8/enwik8", "other.json"]
    assert not Path("/tmp/rmt-test-escaped").exists()


@pytest.mark.parametrize("what", ["tokens", "lines", "md5"])
def test_counts_of_the_unpacked_files_are_checked(getdata, tmp_path, what):
    checks = json.loads(json.dumps(CHECKS["wt103"]))
    checks["train.txt"][what] = 17
    code, output = getdata("wt103", **with_checks(tmp_path, "wt103", checks))
    assert code == 1
    assert f"train.txt is not the published one: {what}" in output
    assert files_in(tmp_path / "data") == []


# --- the user's own files ------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def test_from_an_archive_and_from_its_folder(getdata, server, tmp_path, own):
    (own / "wikitext-103-v1.zip").write_bytes(WT103_ZIP)
    (own / "enwik8.zip").write_bytes(ENWIK8_ZIP)
    code, output = getdata("wt103", "--from", own / "wikitext-103-v1.zip")
    assert code == 0, output
    assert_wt103_is_complete(tmp_path / "data")
    code, output = getdata("enwik8", "wt103", "--from", own)
    assert code == 0, output
    assert (tmp_path / "data" / "enwik8" / "enwik8").read_bytes() == ENWIK8
    assert server.requests == []
    assert files_in(own) == ["enwik8.zip", "wikitext-103-v1.zip"]


@pytest.mark.parametrize("pattern", ["wikitext-103/wiki.{}.tokens", "{}.txt"])
def test_from_plain_files(getdata, server, tmp_path, own, pattern):
    (own / "wikitext-103").mkdir()
    for name, text in TEXT.items():
        (own / pattern.format(name.removesuffix(".txt"))).write_text(text)
    code, output = getdata("wt103", "--from", own)
    assert code == 0, output
    assert_wt103_is_complete(tmp_path / "data")
    assert server.requests == []


def test_from_a_raw_file_of_any_name(getdata, tmp_path, own):
    (own / "my-copy").write_bytes(ENWIK8)
    code, output = getdata("enwik8", "--from", own / "my-copy")
    assert code == 0, output
    assert files_in(tmp_path / "data") == ["enwik8/enwik8"]


def test_another_version_only_with_no_verify(getdata, tmp_path, own):
    (own / "enwik8").write_bytes(ENWIK8[:-5])
    code, output = getdata("enwik8", "--from", own)
    assert code == 1
    assert "error:" in output
    assert "is not the published one: md5" in output
    assert files_in(tmp_path / "data") == []
    code, output = getdata("enwik8", "--from", own, "--no_verify")
    assert code == 0, output
    assert "accepted all the same" in output
    assert (tmp_path / "data" / "enwik8" / "enwik8").read_bytes() == ENWIK8[:-5]
    # It stays the user's: neither replaced nor called complete without being asked.
    code, output = getdata("enwik8")
    assert code == 1
    assert "move it away" in output
    assert getdata("enwik8", "--no_verify") == (
        0,
        f"enwik8: already complete in {tmp_path}/data/enwik8\n",
    )


def test_missing_file_is_added_to_what_is_there(getdata, tmp_path):
    getdata("wt103")
    (tmp_path / "data" / "wikitext-103" / "train.txt").unlink()
    (tmp_path / "data" / "wikitext-103" / "notes").write_text("mine")
    code, output = getdata("wt103")
    assert code == 0, output
    assert files_in(tmp_path / "data") == ["wikitext-103/notes", *WT103_FILES]


def test_full_disk_is_one_sentence_and_keeps_the_download(server, environment, tmp_path):
    """A limit on the size of files stands in for a full disk: the archive fits, its file not."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("enwik8", ENWIK8)
    assert len(packed.getvalue()) < 20_000 < len(ENWIK8)
    server.files["/enwik8.zip"] = packed.getvalue()
    table = with_checks(tmp_path, "enwik8", {})
    command = 'ulimit -f 20; exec bash "$@"'  # kB
    arguments = [REPOSITORY / "getdata.sh", "enwik8", "--data_dir", tmp_path / "data"]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *arguments],
        env={**environment, **table},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert files_in(tmp_path / "data") == [".partial/enwik8.zip.part"]


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name at least one of wt103, enwik8, text8"),
        (["wt104"], "unknown name 'wt104': choose from wt103, enwik8, text8"),
        (["wt103", "--force"], "--force"),
        (["wt103", "--from", "/nowhere"], "there is nothing at --from /nowhere"),
        (["wt103", "enwik8", "--from", __file__], "goes with one name"),
    ],
)
def test_wrong_arguments_are_one_sentence(getdata, tmp_path, arguments, message):
    code, output = getdata(*arguments)
    assert code == 2
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    assert message in output
    assert not (tmp_path / "data").exists()


def test_help(getdata):
    code, output = getdata("--help")
    assert code == 0
    for flag in ("--from", "--data_dir", "--no_verify", "wt103, enwik8, text8"):
        assert flag in output


def test_names_after_options(getdata, tmp_path, own):
    (own / "enwik8").write_bytes(ENWIK8)
    code, output = getdata("--from", own, "enwik8")
    assert code == 0, output


def test_other_files_fail_the_built_in_checks(getdata, tmp_path):
    sample = REPOSITORY / "tests" / "samples" / "wikitext-103"
    code, output = getdata("wt103", "--from", sample, RMT_CHECKSUMS="")
    assert code == 1
    assert files_in(tmp_path / "data") == []
    code, output = getdata("wt103", "--from", sample, "--no_verify", RMT_CHECKSUMS="")
    assert code == 0, output
    assert output.count("is not the published one") == 3
    assert "train.txt is not the published one: lines 61 instead of 1801350" in output


def test_real_heldout_files_pass_the_built_in_checks(getdata, own, published):
    heldout = published("wikitext-103", "wikitext-103-heldout")
    for split in ("valid", "test"):
        (own / f"{split}.txt").write_bytes((heldout / f"{split}.txt").read_bytes())
    (own / "train.txt").write_text("the cat sat\n")
    code, output = getdata("wt103", "--from", own, "--no_verify", RMT_CHECKSUMS="")
    assert code == 0, output
    assert output.count("is not the published one") == 1
    assert "train.txt is not the published one: lines 1 instead of 1801350" in output
