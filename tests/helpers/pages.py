"""Pages as a reader takes them: what they show is typed into a copy of the project."""

import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path

from markdown_it import MarkdownIt

from helpers.programs import ROOT, SAMPLES, Outcome, run

COMMAND = re.compile(r"(\w+=\S+ )*(bash|sbatch|python \w|python -m \S+ )")
# In the middle of a sentence a command may be a form: it has words to be replaced, or is cut short.
FORM = re.compile(r"\b[A-Z]{2,}\b(?!=)|\.\.\.|…|\||\[")

# Of the results as much as the pages' commands read.
RESULTS = ("README.md", "bench", "models", "paper", "tables")
RUNS = ("enwik8-small", "mini-copy", "mini-retrieval", "mini-reverse", "tasks-fast", "window")


@dataclass(frozen=True)
class Shown:
    """What a page shows to be typed."""

    page: str
    line: int
    is_python: bool
    text: str

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}: {self.text}"


def shown(page: str) -> Iterator[Shown]:
    """Blocks of Python; every command of the other blocks, and those in the middle of a sentence.

    A block is of Python if its fence says so, and nothing to be typed if that says text.
    """
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text()):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence" and token.info == "python":
            yield Shown(page, line, True, token.content)
        elif token.type == "fence" and token.info == "text":
            continue
        elif token.type in ("fence", "code_block"):
            for command in token.content.replace("\\\n", " ").splitlines():
                if command.strip():
                    yield Shown(page, line, False, " ".join(command.split()))
        for child in token.children or ():
            text = child.content
            if child.type == "code_inline" and COMMAND.match(text) and not FORM.search(text):
                yield Shown(page, line, False, text)


def python_blocks(page: str) -> list[str]:
    return [each.text for each in shown(page) if each.is_python]


# Stands for every Python that a command starts.
STAND_IN = f"""#!{sys.executable} -I
import os, sys
from multiprocessing.connection import Client

if sys.argv[1] == "-c":
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
with Client(os.environ["READER"]) as reader:
    reader.send((os.getcwd(), sys.argv[1:]))
    status, out, err = reader.recv()
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""
# What a cluster has: a job is run at once, as the first of its array.
CLUSTER = {
    "sbatch": 'while [[ "$1" == --* ]]; do shift; done; exec bash "$@"',
    "srun": 'shift; exec "$@"',
    "scontrol": "echo localhost",
}
SLURM = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_CPUS_PER_TASK": "1"}
SLURM |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "2"}
# As the pages say it is set, and one thread.
PROCESS = {"PYTHONPATH": "pytorch", "OMP_NUM_THREADS": "1"}


class Reader:
    """One who types into a copy of the project.

    What a command starts with python runs in the process of the tests, where PyTorch is loaded
    already. The package must take the copy for the project that it belongs to.
    """

    def __init__(self, root: Path):
        self.root = root
        copy_project(root)
        for name, script in {"python": STAND_IN, **CLUSTER}.items():
            path = root / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(script if name == "python" else f"#!/usr/bin/env bash\n{script}\n")
            path.chmod(0o755)
        (root / ".venv" / "bin").mkdir(parents=True)
        (root / ".venv" / "bin" / "python").symlink_to(root / "bin" / "python")
        (root / ".venv" / "bin" / "activate").touch()

    def type(self, command: str, added: Mapping[str, str]) -> subprocess.CompletedProcess:
        """Run a line of bash to its end.

        added: flags that the programs get besides, by how "rmt.train --its flags" begins.
        """
        # What stands in brackets may be left out.
        command = re.sub(r" \[\w+\]", "", command)

        def bash(address: str) -> subprocess.CompletedProcess:
            own = {"READER": address, "RMT_PYTHON": str(self.root / "bin" / "python"), **SLURM}
            # No GPU, no second process, and one seed.
            own |= {"RMT_DEVICE": "cpu", "NPROC": "1", "SEEDS": "1"}
            own |= {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", **PROCESS}
            try:
                return subprocess.run(
                    ["bash", "-c", command],
                    cwd=self.root,
                    env=os.environ | own,
                    capture_output=True,
                    text=True,
                    check=False,
                )
            finally:
                Client(address).send(None)

        with Listener() as listener, ThreadPoolExecutor(1) as thread:
            typed = thread.submit(bash, listener.address)
            while True:
                with listener.accept() as connection:
                    asked = connection.recv()
                    if asked is None:
                        return typed.result()
                    try:
                        outcome = start(*asked, added)
                    except Exception:  # as Python would end
                        outcome = Outcome(1, "", traceback.format_exc())
                    connection.send((outcome.status, outcome.out, outcome.err))


def start(folder: str, argv: list[str], added: Mapping[str, str]) -> Outcome:
    """Run what Python was to run."""
    is_module = argv[0] == "-m"
    name, *flags = argv[is_module:]
    if name == "rmt.launch":  # which would start a process, or several, of this
        name, flags = "rmt.train", flags[flags.index("--") + 1 :]
    words = " ".join([name, *flags])
    for pattern, more in added.items():
        flags += more.split() if re.match(pattern, words) else []
    if is_module:
        is_package = importlib.util.find_spec(name).submodule_search_locations
        program = importlib.import_module(f"{name}.__main__" if is_package else name)
        with contextlib.chdir(folder):
            return run(program.main, *flags)
    done = subprocess.run(
        [sys.executable, name, *flags],
        cwd=folder,
        env=os.environ | PROCESS,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def copy_project(root: Path) -> None:
    """What the pages' commands need of it, with short texts where the published ones lie."""
    root.mkdir()
    for name in ("pytorch", "run_scripts", "docs"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("README.md", "LICENSE", "getdata.sh"):
        shutil.copy(ROOT / name, root)
    for name in (*RESULTS, *(f"runs/{name}" for name in RUNS)):
        source, target = ROOT / "results" / name, root / "results" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (root / "few" / "runs").mkdir(parents=True)
    shutil.copytree(ROOT / "results" / "runs" / "window", root / "few" / "runs" / "window")
    shutil.copytree(ROOT / "results" / "paper", root / "few" / "paper")
    (root / "data" / "enwik8").mkdir(parents=True)
    shutil.copy(SAMPLES / "enwik8-head", root / "data" / "enwik8" / "enwik8")
    shutil.copy(SAMPLES / "enwik8-head", root / "data" / "enwik8-head")
    for name in ("wikitext-103", "wt103-mini"):
        shutil.copytree(SAMPLES / "wikitext-103", root / "data" / name)
    (root / "my.txt").write_text("the cat sat on the mat, the dog on the log.\n" * 400)
    (root / "runs").mkdir()
