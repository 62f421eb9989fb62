"""A run that was stopped, however, goes on as if nothing had happened."""

import fcntl
import json
import os
import pickle
import random
import select
import shutil
import signal
import subprocess
import termios
import threading
from pathlib import Path

import pytest
import torch

import rmt
from helpers.programs import (
    ARMT,
    DOCUMENTS,
    RMT,
    TRXL,
    Stopped,
    assert_one_sentence,
    command,
    process_settings,
    records,
    result,
    run,
    run_process,
    steps_saved,
    wait_for_step,
    weights_of,
)
from rmt import eval as evaluation
from rmt import train
from rmt.runs import checkpoint
from rmt.runtime import interruption
from rmt.training.trainer import Trainer

REPLAY = [*RMT, "--bptt_unrolls", "2"]
DROPOUT = ["--dropout", "0.1"]


def assert_same_run(one, other) -> None:
    """Weights equal bit for bit, and all that was measured, but for times."""
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert measured(one) == measured(other)
    same = ("steps", "tokens", "best_step", "valid_loss", "test_loss", "n_nonfinite")
    mine, theirs = result(one), result(other)
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}


def measured(folder) -> list[dict]:
    timing = ("seconds", "tokens_per_s")
    return [
        {name: value for name, value in entry.items() if name not in timing}
        for entry in records(folder)
    ]


@pytest.fixture
def stop_before_step(monkeypatch):
    """Let train_step end the program before a step, as a kill would, the first time."""

    def stop_before_step(step: int) -> None:
        real = Trainer.train_step

        def train_step(trainer, progress):
            if trainer.place.step == step:
                monkeypatch.setattr(Trainer, "train_step", real)
                raise Stopped
            real(trainer, progress)

        monkeypatch.setattr(Trainer, "train_step", train_step)

    return stop_before_step


# 10 streams of about 200 tokens make an epoch of 26 segments, or of 9 windows of three.
SHORT_EPOCHS = ["--batch_size", "10", "--max_step", "30"]
# The empty --data takes back that of the text. 12 inputs, segments of 5, 5 and 2; 15 batches.
TASK = ["--data", "", *"--train_samples 60 --valid_samples 10 --test_samples 10".split()]
TASK += [*RMT, *"--dataset reverse --n 6 --tgt_len 5 --bptt_unrolls -1".split()]
# Lessons are over after 14 updates.
LESSONS = [*TASK, *"--curriculum 2 --max_step 28".split()]
VARIANTS = {
    "rmt without unrolls": [*RMT, "--max_step", "12"],
    "rmt, replay": [*REPLAY, "--max_step", "12"],
    "rmt, replay, from the start of the streams": [*RMT, "--bptt_unrolls", "30"],
    "rmt, window": [*REPLAY, "--bptt_mode", "window", "--max_step", "12"],
    "mt": ["--model", "mt", "--mem_len", "2"],
    "baseline": ["--model", "baseline"],
    "trxl": TRXL,
    "trxl_rmt": [
        "--model",
        "trxl_rmt",
        "--mem_len",
        "2",
        "--cache_len",
        "5",
        "--bptt_unrolls",
        "2",
    ],
    "armt": [*ARMT, "--bptt_unrolls", "2"],
    "over an epoch's end": [*REPLAY, *SHORT_EPOCHS],
    "over an epoch's end, window": [*REPLAY, "--bptt_mode", "window", *SHORT_EPOCHS],
    "over an epoch's end, varlen": [*REPLAY, "--varlen", *SHORT_EPOCHS],
    "varlen, trxl": [*TRXL, "--varlen"],
    "documents": [*REPLAY, *DOCUMENTS, *SHORT_EPOCHS],
    "documents, window": [*REPLAY, *DOCUMENTS, "--bptt_mode", "window", *SHORT_EPOCHS],
    "documents, trxl, chunks": [*TRXL, *DOCUMENTS, "--batch_chunk", "2"],
    "chunks": [*REPLAY, "--batch_chunk", "2"],
    "chunks, trxl": [*TRXL, "--batch_chunk", "4"],
    "dev_perf": [*TRXL, *"--scheduler dev_perf --lr 1 --decay_rate 0.9 --eval_interval 2".split()],
    "the best long ago": [*RMT, *"--scheduler constant --lr 2 --eval_interval 2".split()],
    "inv_sqrt": [*TRXL, *"--scheduler inv_sqrt --warmup_step 9".split()],
    "adagrad": [*REPLAY, "--optim", "adagrad"],
    "sgd": [*REPLAY, *"--optim sgd --lr 0.5".split()],
    "momentum": [*REPLAY, *"--optim sgd --mom 0.9".split()],
    "bf16": [*REPLAY, "--precision", "bf16"],
    "checkpoint_segments": [*REPLAY, "--checkpoint_segments", "--dropatt", "0.1"],
    "adaptive softmax": [*RMT, "--cutoffs", "10", "30"],
    "logs and evaluations between saves": [*RMT, *"--log_interval 4 --eval_interval 5".split()],
    "curriculum": [*RMT, *"--curriculum_segments 1 2 4 --curriculum_steps 3 4".split()],
    "curriculum, window": [
        *RMT,
        *"--bptt_mode window --curriculum_segments 1 3 --curriculum_steps 7".split(),
    ],
    "task": [*TASK, "--max_step", "18"],
    "task, replay, chunks": [*TASK, *"--bptt_unrolls 1 --batch_chunk 2".split()],
    "task, lessons": LESSONS,
}


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """The flags of a variant and the folder of a run that nothing stopped, made once."""
    known = {}

    def undisturbed(variant: str) -> tuple[list[str], Path]:
        if variant not in known:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            flags = [*tiny, *DROPOUT, *"--max_step 12 --save_interval 3".split()]
            flags += VARIANTS[variant]
            assert run(train.main, *flags, "--work_dir", folder).status == 0
            known[variant] = flags, folder
        return known[variant]

    return undisturbed


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "interrupted"])
def test_restart_is_exact(undisturbed, tmp_path, stop_before_step, monkeypatch, variant, kill):
    """Killed: back to the last checkpoint. Interrupted: on from the very step."""
    flags, whole = undisturbed(variant)
    n_steps = int(flags[len(flags) - flags[::-1].index("--max_step")])
    stop = n_steps - n_steps // 3
    flags = [*flags, "--work_dir", tmp_path / "stopped"]
    if kill:
        stop_before_step(stop)
        with pytest.raises(Stopped):
            run(train.main, *flags)
    else:
        real = Trainer.train_step

        def train_step(trainer, progress):
            real(trainer, progress)
            if trainer.place.step == stop:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Trainer, "train_step", train_step)
        outcome = run(train.main, *flags)
        assert outcome.status == 128 + signal.SIGTERM
        assert f"interrupted after step {stop}, saved: continue with --restart" in outcome.out
        monkeypatch.setattr(Trainer, "train_step", real)
        assert steps_saved(tmp_path / "stopped")[-1] == stop
    assert not (tmp_path / "stopped" / "result.json").exists()
    outcome = run(train.main, *flags, "--restart")
    assert outcome.status == 0, outcome.err
    assert "| continuing after step" in outcome.out
    assert_same_run(whole, tmp_path / "stopped")


def test_these_variants_are_what_they_say(undisturbed):
    """Epochs end, lr decays: otherwise the test above shows less than it claims."""
    for variant, n_epochs in (("over an epoch's end", 2), ("over an epoch's end, window", 4)):
        entries = records(undisturbed(variant)[1], "train")
        assert entries[-1]["epoch"] == n_epochs
        assert entries[18]["epoch"] < n_epochs, "the last epoch's start is after the restart"
    rates = [entry["lr"] for entry in records(undisturbed("dev_perf")[1], "train")]
    assert len({*rates[:8]}) > 1
    assert len({*rates[8:]}) > 1
    assert result(undisturbed("the best long ago")[1])["best_step"] <= 6
    task = records(undisturbed("task")[1], "train")
    assert (task[11]["epoch"], task[-1]["epoch"]) == (1, 2)
    lessons = [entry["lesson"] for entry in records(undisturbed("task, lessons")[1], "train")]
    assert set(lessons) == {0, 3}
    assert lessons.index(3) == 13, "not at a checkpoint"


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup_step", 3), ("patience", 7), ("lr", 0.5), ("decay_rate", 0.3), ("lr_min", 0.1)],
)
def test_dev_perf_goes_on_with_its_own_schedule(undisturbed, name, value):
    """Its rate is the optimizer's, made by what the options were on the way."""
    flags, folder = undisturbed("dev_perf")
    was = json.loads((folder / "config.json").read_text())["train"][name]
    outcome = run(train.main, *flags, "--work_dir", folder, "--restart", f"--{name}", value)
    assert f"{name} was {was} there and is {value} now" in assert_one_sentence(outcome)


@pytest.mark.parametrize("changes", [[*REPLAY, *SHORT_EPOCHS], LESSONS], ids=["text", "task"])
def test_restarting_many_times(tiny, tmp_path, stop_before_step, changes):
    flags = [*tiny, *DROPOUT, *changes, "--save_interval", "3"]
    run(train.main, *flags, "--work_dir", tmp_path / "whole")
    flags += ["--work_dir", tmp_path / "stopped", "--restart"]
    for i, step in enumerate((5, 6, 7, 9, 14, 23, 24, 25, 26)):
        stop_before_step(step)
        with pytest.raises(Stopped):
            run(train.main, *(flags if i else flags[:-1]))
    assert run(train.main, *flags).status == 0
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_restart_of_a_finished_run(tiny, tmp_path):
    """It is tested again and nothing is trained or recorded twice."""
    flags = [*tiny, *RMT, "--work_dir", tmp_path / "run", "--save_interval", "2"]
    run(train.main, *flags)
    shutil.copytree(tmp_path / "run", tmp_path / "before", symlinks=True)
    assert run(train.main, *flags, "--restart").status == 0
    assert_same_run(tmp_path / "run", tmp_path / "before")


def test_more_steps_go_on_from_the_last(tiny, tmp_path):
    """N + N steps are 2N steps where the schedule does not depend on max_step."""
    flags = [*tiny, *DROPOUT, *REPLAY, "--scheduler", "constant", "--eval_interval", "3"]
    run(train.main, *flags, "--max_step", 12, "--work_dir", tmp_path / "whole")
    halves = [*flags, "--work_dir", tmp_path / "halves"]
    run(train.main, *halves, "--max_step", 6)
    assert run(train.main, *halves, "--max_step", 12, "--restart").status == 0
    assert_same_run(tmp_path / "whole", tmp_path / "halves")


def test_the_evaluation_at_an_end_that_is_put_off_does_not_lower_the_rate(tiny, tmp_path):
    """It is no validation that a run without that end has."""
    flags = [*tiny, *TRXL, *"--scheduler dev_perf --lr 1 --decay_rate 0.9".split()]
    flags += ["--eval_interval", "3"]
    run(train.main, *flags, "--max_step", 12, "--work_dir", tmp_path / "whole")
    halves = [*flags, "--work_dir", tmp_path / "halves"]
    run(train.main, *halves, "--max_step", 4)
    assert run(train.main, *halves, "--max_step", 12, "--restart").status == 0
    whole, in_two = (
        [entry["lr"] for entry in records(tmp_path / name, "train")] for name in ("whole", "halves")
    )
    assert whole == in_two
    assert len(set(whole)) > 1


# Processes and signals


def test_settings_that_are_changed_on_the_way_are_recorded(tiny, tmp_path):
    """In config.json, which otherwise says only how a run ended; also when it goes on once more.

    How attention is computed is none of them.
    """
    flags = [*tiny, *RMT, "--scheduler", "constant", "--work_dir", tmp_path / "run"]
    changes = [
        [],
        ["--max_step", 6, "--attention", "plain"],
        ["--max_step", 8, "--lr", 0.02, "--log_interval", 2],
    ]
    changes.append(changes[-1])
    for changed in changes:
        restart = ["--restart"] if changed else []
        assert run(train.main, *flags, *changed, *restart).status == 0
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        expected = [name for name in ("lr", "max_step") if f"--{name}" in changed]
        assert config.get("changed", []) == expected


def start_training(*flags: object) -> subprocess.Popen:
    settings = process_settings() | {"stderr": subprocess.STDOUT}
    return subprocess.Popen(command("rmt.train", *flags), **settings)


# So that it can't be over before the signal arrives: how long it is is decided afterwards.
ENDLESS = [*DROPOUT, *"--scheduler constant --save_interval 4 --eval_interval 10".split()]


@pytest.mark.parametrize(
    ("flags", "number"),
    [
        (REPLAY, signal.SIGKILL),
        (TRXL, signal.SIGKILL),
        (REPLAY, signal.SIGTERM),
        ([*TRXL, "--varlen"], signal.SIGINT),
        (REPLAY, signal.SIGHUP),
    ],
    ids=["kill rmt", "kill trxl", "SIGTERM", "SIGINT", "SIGHUP"],
)
def test_a_process_is_stopped(tiny, tmp_path, flags, number):
    flags = [*tiny, *ENDLESS, *flags]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = start_training(*flags, "--work_dir", stopped, "--max_step", 10**6)
    wait_for_step(process, stopped, random.randint(5, 30))
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    last = records(stopped, "train")[-1]["step"]
    flags += ["--max_step", last + 5]
    restart = [*flags, "--work_dir", stopped, "--restart"]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        restarted = run_process("rmt.train", *restart)
    else:
        assert process.returncode == -number, out  # a shell's loop ends, too
        assert f"interrupted after step {last}, saved" in out
        assert checkpoint.find(stopped, warn=pytest.fail).step == last
        restarted = run(train.main, *restart)
    assert restarted.status == 0, restarted.err
    assert run(train.main, *flags, "--work_dir", whole).status == 0
    assert_same_run(whole, stopped)


class Terminal:
    """A terminal with a process in it; text is what can be seen there."""

    def __init__(self, *flags: object):
        self.end, inside = os.openpty()
        termios.tcsetwinsize(inside, (24, 100))
        settings = process_settings() | dict.fromkeys(("stdin", "stdout", "stderr"), inside)
        self.process = subprocess.Popen(
            command("rmt.train", *flags),
            **settings,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C goes there
        )
        os.close(inside)
        self.text, self.is_open = b"", True
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        while self.is_open:
            if select.select([self.end], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.end, 10_000)
                except OSError:  # the process has ended
                    return

    def close(self) -> None:
        self.is_open = False
        self.reader.join()
        os.close(self.end)


@pytest.fixture
def terminal(tiny, tmp_path):
    flags = [*tiny, *ENDLESS, *REPLAY, "--max_step", 10**6, "--work_dir", tmp_path]
    terminal = Terminal(*flags)
    wait_for_step(terminal.process, tmp_path, 5)
    yield terminal
    terminal.process.kill()
    if terminal.is_open:
        terminal.close()


def assert_all_was_saved(folder) -> None:
    last = records(folder, "train")[-1]["step"]
    assert checkpoint.find(folder, warn=pytest.fail).step == last
    log = (folder / "log.txt").read_text()
    assert log.endswith(f"| interrupted after step {last}, saved: continue with --restart\n")


def test_ctrl_c_in_a_terminal(terminal, tmp_path):
    """The line stands by itself, in spite of the progress bar."""
    os.write(terminal.end, b"\x03\x03")
    assert terminal.process.wait(60) == -signal.SIGINT
    terminal.reader.join()
    assert terminal.text.count(b"\rsaving; Ctrl-C again ends at once\r\n") == 1
    assert b"Traceback" not in terminal.text
    assert_all_was_saved(tmp_path)


def test_a_terminal_that_is_closed(terminal, tmp_path):
    """SIGHUP comes, and nothing can be printed any more."""
    terminal.close()
    assert terminal.process.wait(60) == -signal.SIGHUP
    assert_all_was_saved(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_signal_during_an_evaluation_ends_it_at_once(tiny, tmp_path, monkeypatch, number, split):
    flags = [*tiny, *DROPOUT, *REPLAY, "--eval_interval", "2"]
    run(train.main, *flags, "--work_dir", tmp_path / "whole")
    real, finished = Trainer.score, []

    def score(trainer, what, *args):
        at_the_signal = what == split and trainer.place.step == 4
        if at_the_signal:
            os.kill(os.getpid(), number)
        scored = real(trainer, what, *args)
        if at_the_signal:
            finished.append(what)
        return scored

    monkeypatch.setattr(Trainer, "score", score)
    flags += ["--work_dir", tmp_path / "stopped"]
    outcome = run(train.main, *flags)
    assert outcome.status == 128 + number, outcome.err
    assert "interrupted after step 4, saved" in outcome.out
    assert not finished
    monkeypatch.setattr(Trainer, "score", real)
    assert run(train.main, *flags, "--restart").status == 0
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_second_ctrl_c_ends_at_once(tiny, tmp_path, monkeypatch):
    real = checkpoint.save

    def save(*args, **settings):
        os.kill(os.getpid(), signal.SIGINT)  # impatience
        real(*args, **settings)

    def train_step(trainer, progress):
        trainer.place.step += 1
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(Trainer, "train_step", train_step)
    flags = [*tiny, *RMT, "--log_interval", 9, "--work_dir"]
    said = "saving; Ctrl-C again ends at once\n"
    outcome = run(train.main, *flags, tmp_path / "one")
    assert (outcome.status, outcome.err) == (130, said), "of a key that is held down"
    assert steps_saved(tmp_path / "one") == [1]
    monkeypatch.setattr(interruption, "SECONDS_OF_ONE", 0)
    outcome = run(train.main, *flags, tmp_path / "two")
    assert (outcome.status, outcome.err) == (130, said + "interrupted\n")
    assert steps_saved(tmp_path / "two") == []


# Damage


@pytest.fixture(scope="module")
def finished_run(tiny, tmp_path_factory):
    """A run with checkpoints of steps 4 and 6, and its flags."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    flags = [*tiny, *DROPOUT, *REPLAY, "--max_step", 6, "--save_interval", 2]
    assert run(train.main, *flags, "--work_dir", folder).status == 0
    assert steps_saved(folder) == [4, 6]
    return folder, flags


def flip_a_byte(path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


DAMAGES = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "absent": lambda path: path.unlink(),
    "first byte": lambda path: flip_a_byte(path, 0),
    "middle byte": lambda path: flip_a_byte(path, 0.5),
    "late byte": lambda path: flip_a_byte(path, 0.9),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    finished_run, tmp_path, name, damage
):
    whole, flags = finished_run
    folder = shutil.copytree(whole, tmp_path / "run", symlinks=True)
    damage(folder / "checkpoints" / "step-00000006" / name)
    outcome = run(train.main, *flags, "--work_dir", folder, "--restart")
    assert outcome.status == 0, outcome.err
    path = folder / "checkpoints" / "step-00000006"
    first_line = outcome.out.splitlines()[0]
    assert first_line.startswith(f"checkpoint {path} is damaged (")
    assert first_line.endswith("; using the one before it")
    assert "| continuing after step 4" in outcome.out
    assert_same_run(folder, whole)
    assert checkpoint.find(folder, warn=pytest.fail).step == 6, "made anew"


def test_any_byte_of_a_manifest(finished_run, tmp_path):
    """The settings in it are what a restart is compared with."""
    source = finished_run[0] / "checkpoints" / "step-00000006"
    copy = shutil.copytree(source, tmp_path / "step-00000006")
    content = (source / "manifest.json").read_bytes()
    meaning = json.loads(content)
    undetected = 0
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 0x04
        (copy / "manifest.json").write_bytes(damaged)
        try:
            assert checkpoint.verify(copy).manifest == meaning
            undetected += 1  # white space may change
        except checkpoint.DamagedCheckpoint:
            pass
    assert undetected < len(content) / 4


def test_all_checkpoints_damaged(finished_run, tmp_path):
    whole, flags = finished_run
    folder = shutil.copytree(whole, tmp_path / "run", symlinks=True)
    for path in (folder / "checkpoints").iterdir():
        flip_a_byte(path / "training.pt", 0.3)
    outcome = run(train.main, *flags, "--work_dir", folder, "--restart")
    sentence = assert_one_sentence(outcome)
    assert "every checkpoint in" in sentence
    assert sentence.count(": training.pt has changed") == 2


def test_a_damaged_best_is_named_and_the_newest_tested(finished_run, tmp_path, capsys):
    folder = shutil.copytree(finished_run[0], tmp_path / "run", symlinks=True)
    (folder / "best").unlink()
    (folder / "best").symlink_to("checkpoints/step-00000004")
    assert checkpoint.find_best(folder, warn=pytest.fail).step == 4
    flip_a_byte(folder / "checkpoints" / "step-00000004" / "model.safetensors", 0.5)
    assert checkpoint.find_best(folder).step == 6
    assert "step-00000004 is damaged" in capsys.readouterr().err


def test_best_may_have_stayed_behind(finished_run, tmp_path):
    """As after a crash between a checkpoint and its link; the best is tested all the same."""
    whole, flags = finished_run
    folder = shutil.copytree(whole, tmp_path / "run", symlinks=True)
    (folder / "best").unlink()
    (folder / "best").symlink_to("checkpoints/step-00000004")
    assert run(train.main, *flags, "--work_dir", folder, "--restart").status == 0
    assert (result(folder)["best_step"], result(folder)["test_step"]) == (6, 6)
    assert_same_run(folder, whole)


# Learns until step 6, if it isn't given another learning rate.
CONSTANT = [*RMT, *"--scheduler constant --save_interval 2 --eval_interval 2 --max_step 6".split()]


def test_the_best_step_made_anew_may_be_worse(tiny, tmp_path):
    """The best before it is then what is tested, and is kept."""
    flags = [*tiny, *CONSTANT, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    assert result(tmp_path)["best_step"] == 6
    flip_a_byte(tmp_path / "checkpoints" / "step-00000006" / "model.safetensors", 0.5)
    outcome = run(train.main, *flags, "--restart", "--lr", 30, "--max_step", 10)
    assert outcome.status == 0, outcome.err
    assert (result(tmp_path)["best_step"], result(tmp_path)["test_step"]) == (4, 4)


@pytest.mark.parametrize("max_step", [8, 10])
def test_a_best_that_is_gone_is_chosen_anew(tiny, tmp_path, max_step):
    flags = [*tiny, *CONSTANT, "--work_dir", tmp_path]
    assert run(train.main, *flags).status == 0
    ruined = [*flags, "--restart", "--lr", 30]
    assert run(train.main, *ruined, "--max_step", 8).status == 0
    assert result(tmp_path)["best_step"] == 6
    flip_a_byte(tmp_path / "checkpoints" / "step-00000006" / "model.safetensors", 0.5)
    outcome = run(train.main, *ruined, "--max_step", max_step)
    assert outcome.status == 0, outcome.err
    assert "| the best checkpoint, of step 6, is gone: the best is chosen anew" in outcome.out
    assert result(tmp_path)["best_step"] == result(tmp_path)["test_step"] >= 8
    assert result(tmp_path)["valid_loss"] == min(
        entry["loss"] for entry in records(tmp_path, "valid") if entry["step"] >= 8
    )


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_checkpoint_is_not_executed(finished_run, tmp_path):
    """With checksums that fit, as whoever hands on a checkpoint would make them."""
    whole, flags = finished_run
    folder = shutil.copytree(whole, tmp_path / "run", symlinks=True)
    trap = tmp_path / "executed"
    payload = {"place": Malicious(trap)}
    for path in (folder / "checkpoints").iterdir():
        torch.save(payload, path / "training.pt")
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["sha256"]["training.pt"] = checkpoint._sha256(path / "training.pt")
        manifest["digest"] = checkpoint._digest(manifest)
        (path / "manifest.json").write_text(json.dumps(manifest))
    outcome = run(train.main, *flags, "--work_dir", folder, "--restart")
    assert "training.pt holds more than tensors" in assert_one_sentence(outcome)
    assert not trap.exists()

    # It would have worked: this test can fail.
    torch.load(folder / "last" / "training.pt", weights_only=False)
    assert trap.exists()
    trap.rmdir()
    pickle.loads(pickle.dumps(Malicious(trap)))
    assert trap.exists()


# Where last and best are no links


def as_real_folder(link: Path) -> None:
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)


def as_file(link: Path) -> None:
    target = link.readlink()
    link.unlink()
    link.write_text(f"{target}\n")


@pytest.mark.parametrize("change", [as_real_folder, as_file])
def test_a_run_goes_on_whose_links_were_not_kept(finished_run, tmp_path, change):
    whole, flags = finished_run
    folder = shutil.copytree(whole, tmp_path / "run", symlinks=True)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    for link in ("last", "best"):
        (folder / link).unlink()
        (folder / link).symlink_to("checkpoints/step-00000004")
        change(folder / link)
    assert weights_of(folder).keys() == weights_of(whole).keys()
    outcome = run(evaluation.main, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    assert "step 4\n" in outcome.out
    assert torch.equal(rmt.load(folder).state_dict()["memory"], weights_of(folder)["memory"])
    outcome = run(train.main, *flags, "--work_dir", folder, "--restart")
    assert outcome.status == 0, outcome.err
    assert "| continuing after step 4" in outcome.out
    assert_same_run(folder, whole)
    assert [(folder / link).is_symlink() for link in ("last", "best")] == [True, True]


# Into another folder


@pytest.mark.parametrize("max_step", [6, 10])
def test_restart_dir_leaves_the_old_folder_alone(tiny, finished_run, tmp_path, max_step):
    """Also where nothing is left to do, or nothing better is found than the old run's best."""
    old, flags = finished_run
    old = shutil.copytree(old, tmp_path / "old", symlinks=True)
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    flags = [*flags, "--max_step", max_step]
    new = [*flags, "--work_dir", tmp_path / "new", "--restart", "--restart_dir", old]
    outcome = run(train.main, *new)
    assert outcome.status == 0, outcome.err
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before

    assert run(train.main, *flags, "--work_dir", old, "--restart").status == 0
    mine, theirs = weights_of(tmp_path / "new"), weights_of(old)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for name in ("steps", "tokens", "best_step", "valid_loss", "test_loss"):
        assert result(tmp_path / "new")[name] == result(old)[name]
    assert [e["step"] for e in records(tmp_path / "new", "train")] == list(range(7, max_step + 1))


def test_the_best_of_the_old_folder_comes_along(tiny, tmp_path):
    """With a learning rate that ruins what was learned, the best stays the old one."""
    flags = [*tiny, *RMT, "--scheduler", "constant", "--save_interval", "2"]
    assert run(train.main, *flags, "--work_dir", tmp_path / "old").status == 0
    more = ["--max_step", 8, "--lr", 30, "--work_dir", tmp_path / "new"]
    outcome = run(train.main, *flags, *more, "--restart", "--restart_dir", tmp_path / "old")
    assert outcome.status == 0, outcome.err
    assert result(tmp_path / "new")["best_step"] == 4
    assert result(tmp_path / "new")["test_loss"] == result(tmp_path / "old")["test_loss"]
    assert checkpoint.find_best(tmp_path / "new").step == 4
    assert checkpoint.find(tmp_path / "new").step == 8


def test_restart_dir_may_have_lost_its_best(tiny, finished_run, tmp_path):
    old = shutil.copytree(finished_run[0], tmp_path / "old", symlinks=True)
    (old / "best").unlink()
    flags = [*finished_run[1], "--work_dir", tmp_path / "new", "--restart", "--restart_dir", old]
    assert run(train.main, *flags).status == 0
    assert (tmp_path / "new" / "last").resolve().name == "step-00000006"


def test_a_line_cut_in_two_is_made_anew(tiny, tmp_path, stop_before_step):
    """kill -9 may cut a line in two."""
    flags = [*tiny, *RMT, "--work_dir", tmp_path / "run", "--save_interval", "2"]
    stop_before_step(3)
    with pytest.raises(Stopped):
        run(train.main, *flags)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert run(train.main, *flags, "--restart").status == 0
    assert [entry["step"] for entry in records(tmp_path / "run", "train")] == [1, 2, 3, 4]
