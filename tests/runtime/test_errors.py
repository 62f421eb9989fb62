"""How programs end: what they say, and by which status or signal."""

import signal
import subprocess
import sys

import pytest

from helpers.programs import ROOT, process_settings, run_process

PACKAGE = ROOT / "pytorch" / "rmt"
PROGRAMS = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__main__")
    for path in PACKAGE.rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
)
# In place of a module that every program imports: Ctrl-C comes at this moment.
CTRL_C = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def with_ctrl_c() -> dict:
    """Settings of a process; a shell that runs the tests in the background has Ctrl-C ignored."""
    return process_settings() | {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}


@pytest.fixture
def interrupted_import(tmp_path):
    """Settings of a process in which Ctrl-C comes while it imports argparse."""
    (tmp_path / "argparse.py").write_text(CTRL_C)
    settings = with_ctrl_c()
    settings["env"]["PYTHONPATH"] = f"{tmp_path}:{settings['env']['PYTHONPATH']}"
    return settings


def test_these_are_the_programs():
    assert {"rmt.train", "rmt.eval", "rmt.tables", "rmt.data.tasks"} <= {*PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_imports_is_one_word(interrupted_import, program):
    outcome = run_process(program, "--some", "flags", **interrupted_import)
    assert (outcome.status, outcome.out, outcome.err) == (130, "", "interrupted\n")


def test_only_the_first_of_several_processes_speaks(interrupted_import):
    interrupted_import["env"]["RANK"] = "1"
    outcome = run_process("rmt.train", **interrupted_import)
    assert (outcome.status, outcome.err) == (130, "")


IMPORTER = """
import signal, sys
hook, handler = sys.excepthook, signal.getsignal(signal.SIGINT)
import rmt, rmt.train
assert sys.excepthook is hook
assert signal.getsignal(signal.SIGINT) is handler is signal.default_int_handler
print("unchanged")
"""


@pytest.mark.parametrize(
    "command", [["-c", IMPORTER], ["-m", "other"], ["-m", "other", "-m", "rmt.train"]]
)
def test_who_imports_the_package_keeps_their_ctrl_c(tmp_path, command):
    """Also in a package that is itself run with -m."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text(IMPORTER)
    (tmp_path / "other" / "__main__.py").write_text("")
    settings = with_ctrl_c()
    settings["env"]["PYTHONPATH"] += f":{tmp_path}"
    done = subprocess.run([sys.executable, *command], **settings, check=False)
    assert (done.stdout, done.stderr) == ("unchanged\n", "")


WRITER = """
import os, signal, sys
from pathlib import Path
from rmt.runtime.errors import run_program
from rmt.runtime.files import new_folder

def main(argv):
    with new_folder(Path(argv[0])) as folder:
        (folder / "half").write_text("")
        os.kill(os.getpid(), int(argv[1]))

run_program(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(tmp_path, number):
    """And the process ends by it, so that whoever started it can tell."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "folder"), str(int(number))]
    done = subprocess.run(command, **with_ctrl_c(), check=False)
    assert done.returncode == -number, done.stderr
    assert done.stderr == ("interrupted\n" if number == signal.SIGINT else "")
    assert list(tmp_path.iterdir()) == []


SPEAKER = """
from rmt.runtime.errors import run_program

run_program(lambda argv: print("score", 1.5))
"""


@pytest.mark.parametrize(
    ("redirected", "status", "said"),
    [
        (">/dev/full", 2, "error: what is written doesn't fit (No space left on device): "),
        (">&-", 0, ""),
    ],
)
def test_output_that_goes_nowhere(redirected, status, said):
    """A full disk behind a redirection has no file's name; closed output is a wish."""
    command = f'"{sys.executable}" -c "$PROGRAM" {redirected}'
    env = {**with_ctrl_c()["env"], "PROGRAM": SPEAKER}
    done = subprocess.run(
        ["bash", "-c", command], env=env, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr[: len(said)]) == (status, said)
    assert done.stderr.count("\n") == (status == 2)
