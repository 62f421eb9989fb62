"""Run the programs on a tiny corpus, inside this process or as a process of their own."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from rmt import train
from rmt.runs import checkpoint
from rmt.runs.run_folder import linked
from rmt.runs.weights import read_weights
from rmt.runtime import errors
from rmt.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "samples"

# The smallest model that has everything. A flag given again later replaces the earlier value.
TINY = (
    "--n_layer 2 --n_head 2 --d_head 4 --d_model 8 --d_inner 16 --tgt_len 8 --batch_size 4 "
    "--eval_batch_size 2 --lr 0.01 --max_step 4 --log_interval 1"
).split()
RMT = "--model rmt --mem_len 2".split()
TRXL = "--model trxl --mem_len 8".split()
# Three documents of words, whose lengths no segment divides.
DOCUMENTS = "--dataset text --tokenizer word --reset_at_documents --data".split()
DOCUMENTS += [str(SAMPLES / "words" / f"{name}.txt") for name in ("train", "valid", "test")]
ARMT = "--model armt --mem_len 2 --d_mem 4".split()


@dataclass(frozen=True)
class Outcome:
    """How a program ended. status: as in a shell, 128 + a signal's number if by a signal."""

    status: int
    out: str
    err: str


def run(main: Callable[[list[str]], None], *flags: object) -> Outcome:
    """Run a program's main in this process the way `python -m` does."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["program", *map(str, flags)]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", argv),
        patch.object(errors, "end_by_signal", lambda number: sys.exit(128 + number)),
    ):
        try:
            errors.run_program(main)
        except SystemExit as end:
            return Outcome(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("run_program returned instead of ending the process")


def trained_when_asked(
    flags: Mapping[str, Sequence[object]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Folders of finished runs, by the names of their flags, made when first asked for."""

    @functools.cache
    def folder(name: str) -> Path:
        made = tmp_path_factory.mktemp("runs") / "run"
        outcome = run(train.main, *flags[name], "--work_dir", made)
        assert outcome.status == 0, outcome.err
        return made

    return folder


def command(module: str, *flags: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, flags)]


def process_settings() -> dict:
    """For subprocess: one thread, this checkout's package, and text pipes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pytorch"), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return {"env": environment, "cwd": ROOT, **pipes}


def run_process(module: str, *flags: object, **settings) -> Outcome:
    """Run `python -m module` to its end."""
    done = subprocess.run(command(module, *flags), **process_settings() | settings, timeout=120)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Outcome(status, done.stdout, done.stderr)


def wait_for_step(process: subprocess.Popen, folder, step: int) -> None:
    """Return as soon as metrics.jsonl tells of the step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        metrics = folder / "metrics.jsonl"
        if metrics.exists() and f'"train", "step": {step},' in metrics.read_text():
            return
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"step {step} was not reached: {process.communicate()[0]}")


def assert_one_sentence(outcome: Outcome) -> str:
    """The program refused: status 2 and one line of explanation, which is returned.

    A line about the progress of encoding may stand before it.
    """
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err
    lines = [line for line in outcome.err.split("\n") if not line.startswith("encoding ")]
    assert len(lines) == 2, outcome.err
    assert lines[0].startswith("error: "), outcome.err
    assert lines[1] == "", "the line ends"
    return lines[0].removeprefix("error: ")


class Stopped(BaseException):
    """Stands for kill -9: nothing in the program catches it."""


@contextlib.contextmanager
def killed_before_step(step: int):
    """Inside, training ends before a step as by a kill; that it does is checked."""
    real = Trainer.train_step

    def train_step(trainer, progress):
        if trainer.place.step == step:
            raise Stopped
        real(trainer, progress)

    with patch.object(Trainer, "train_step", train_step), pytest.raises(Stopped):
        yield


def write_corpus(folder: Path, n_lines: int = 300, seed: int = 0) -> Path:
    """A folder as wt103 wants it: lines of words whose order can be learned a little."""
    random = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(50)]
    folder.mkdir(parents=True, exist_ok=True)
    for split, share in (("train", 1.0), ("valid", 0.2), ("test", 0.2)):
        lines = [" ".join(words)] if split == "train" else []
        for _ in range(int(n_lines * share)):
            start = int(random.integers(50))
            steps = random.integers(0, 4, size=int(random.integers(2, 10)))
            lines.append(" ".join(words[i % 50] for i in (start + np.cumsum(steps)).tolist()))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


def weights_of(work_dir: Path, link: str = "last") -> dict:
    return read_weights(linked(work_dir, link) / checkpoint.MODEL_FILE)


def records(work_dir: Path, *kinds: str) -> list[dict]:
    """The objects in metrics.jsonl; with kinds given, only those."""
    lines = (work_dir / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if not kinds or entry["kind"] in kinds]


def result(work_dir: Path) -> dict:
    return json.loads((work_dir / "result.json").read_text())


def steps_saved(work_dir: Path) -> list[int]:
    names = [path.name for path in (work_dir / "checkpoints").glob("step-*")]
    return sorted(int(name.removeprefix("step-")) for name in names)
