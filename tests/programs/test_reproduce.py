"""The runner: plans that are the rows, runs that count, and what killing it does to them."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from helpers.logged import run_of
from helpers.programs import (
    ROOT,
    SAMPLES,
    Outcome,
    assert_one_sentence,
    process_settings,
    records,
    result,
    run,
)
from rmt import reproduce, train
from rmt.data.text import dataset as text_dataset
from rmt.reproduction import foretold, scales
from rmt.reproduction import planned as planning
from rmt.reproduction.planned import Order, Planned
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.scales import SCALES, plan
from rmt.reproduction.targets import experiments, plans_for, targets_at
from rmt.runs.logged_runs import finished_runs
from rmt.runs.reports import common_text
from rmt.runs.run_folder import RunFolder, in_use
from rmt.runtime.errors import UsageError

ALL = [(target, scale) for scale in SCALES for target in targets_at(scale)]

# Plans


@pytest.mark.parametrize(("target", "scale"), ALL)
def test_every_row_has_a_plan_that_rmt_train_takes(target, scale):
    """And plans of one name are one configuration, so that no run serves two."""
    settings = {}
    for experiment in experiments(target):
        own = plan(experiment, scale)
        assert own.compared["model"] == experiment.model
        assert own.compared["mem_len"] == experiment.memory
        assert settings.setdefault(own.name, own.compared) == own.compared
    assert len(settings) == len(plans_for([target], scale))


def test_plans_of_different_targets_share_runs_where_they_are_the_same():
    """A name means the same in every target, and every configuration has one name."""
    for scale in SCALES:
        plans = [own for target in targets_at(scale) for own in plans_for([target], scale)]
        by_name = {own.name: own.compared for own in plans}
        assert all(by_name[own.name] == own.compared for own in plans)
        distinct = {json.dumps(own, sort_keys=True) for own in by_name.values()}
        assert len(distinct) == len(by_name)


@pytest.mark.parametrize("task", scales.TASK_TRAINING)
def test_the_tasks_at_paper_scale_are_what_their_scripts_train(task):
    text = (ROOT / "run_scripts" / f"run_{task}.sh").read_text()
    sizes, training = (
        re.search(rf"{name}=\((.*?)\n\)", text, re.S)[1].split()
        for name in ("MODEL_SIZES", "TRAINING")
    )
    words = sizes + training
    options = dict(zip(words[::2], words[1::2], strict=True))
    registry = scales.TASK_SIZES[task] | scales.TASK_TRAINING[task]
    assert options.keys() == {f"--{name}" for name in registry}
    assert all(type(value)(options[f"--{name}"]) == value for name, value in registry.items())


def test_the_tasks_at_paper_scale_have_what_differs_between_the_authors_runs():
    for cell in experiments("figure4") + experiments("figure5"):
        own = plan(cell, "paper")
        assert own.compared | cell.training == own.compared


def test_the_tasks_at_paper_scale_have_the_options_of_most_of_the_authors_runs():
    """Of max_step, in which the runs of most tasks differ, that of quadratic alone."""
    found = {}  # by task and option: the number of runs by the value
    with (SAMPLES / "authors_options.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            counts = found.setdefault((line["task"], line["option"]), {})
            counts[line["value"]] = int(line["runs"])
    for cell in experiments("figure4") + experiments("figure5") + experiments("table1"):
        own = plan(cell, "paper").compared
        options = {option: counts for (task, option), counts in found.items() if task == cell.task}
        assert len(options) == 14
        for option, counts in options.items():
            usual = max(counts, key=counts.get)
            if option != "max_step" or cell.task == "quadratic":
                assert own[option] == type(own[option])(usual), (cell.task, option)


def test_the_logged_runs_of_a_gpu_are_midi_scale():
    """Every one of them; their README says which they are."""
    folder = ROOT / "results" / "runs"
    runs = finished_runs(folder)
    fitting = [run for own in plans_for(["table3"], "midi") for run in fitting_runs(own, runs)]
    assert {run.path for run in fitting} == {
        path.parent for path in folder.glob("midi-enwik8/*/result.json")
    }
    assert len(fitting) == 22


def test_midi_scale_is_of_the_small_text_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(text_dataset, "project_root", lambda: tmp_path)
    flags = ["table3", "--scale", "midi", "--dry_run", "--results", tmp_path]
    sentence = assert_one_sentence(run(reproduce.main, *flags))
    assert sentence.endswith("enwik8-head: make it with `bash run_scripts/make_mini_data.sh`")


def test_without_data_mini_is_of_pydoc():
    for own in plans_for(["table3"], "mini", with_data=False):
        assert own.dataset == "pydoc"
        assert own.name.startswith("pydoc-as-enwik8-")


# Which runs count


def a_plan(scale: str = "mini") -> Plan:
    (row,) = (
        r for r in experiments("table3") if (r.model, r.memory, r.bptt_unrolls) == ("rmt", 10, 1)
    )
    return plan(row, scale)


def test_a_run_counts_whatever_machine_it_was_made_on():
    own = a_plan()
    assert own.fits(run_of(own))
    elsewhere = {"data": "x", "cuda": True, "batch_chunk": 4, "log_interval": 7, "n_token": 99}
    assert own.fits(run_of(own, **elsewhere))
    older = run_of(own)
    del older.train["curriculum"], older.train["compile"]
    assert own.fits(older)


@pytest.mark.parametrize(
    "change",
    "lr=0.003 mem_len=11 bptt_mode=window max_step=7 dropout=0.5 dataset=text8 eval_interval=100 "
    "precision=fp32 keep_newlines=".split(),
)
def test_a_run_with_another_configuration_does_not_count(change):
    own = a_plan()
    name, value = change.split("=")
    value = type(own.compared[name])(value or True)
    assert own.compared[name] != value
    found = run_of(own, **{name: value})
    assert not own.fits(found)
    parts = {"model": asdict(found.model), "train": found.train, "task": found.task}
    assert own.differences(parts) == name


def test_a_run_with_other_cutoffs_does_not_count():
    own = next(p for p in plans_for(["table4"], "mini") if p.dataset == "wt103")
    assert own.fits(run_of(own))
    assert not own.fits(run_of(own, cutoffs=(10_000,)))


def test_a_run_whose_settings_were_changed_midway_does_not_count():
    own = a_plan()
    assert not own.fits(replace(run_of(own), changed=["lr"]))


def test_a_run_on_another_text_or_with_another_seed_does_not_count():
    planned = Planned(a_plan(), 1, Path("anywhere"), "abc")
    found = run_of(planned.plan, seed=1)
    assert planned.counts(found)
    assert replace(planned, text=None).counts(found), "any text where none is at hand"
    assert not replace(planned, text="other").counts(found)
    assert not replace(planned, seed=2).counts(found)


def test_a_small_text_is_not_the_papers():
    own = a_plan("paper")
    assert own.fits(run_of(own))
    assert not own.fits(replace(run_of(own), result={"n_token": 199, "corpus": "abc"}))


def test_texts_are_not_mixed():
    own = a_plan()
    first, second = run_of(own), run_of(own)
    second = replace(second, train=second.train | {"seed": 2}, result={"corpus": "other"})
    with pytest.raises(UsageError, match="different texts"):
        common_text([first, second])


# The runner, with plans that take seconds

SMALL = """
import sys
from rmt import reproduce
from rmt.runtime import errors
from rmt.reproduction import scales
from rmt.reproduction.studies import text
scales.MINI_SIZES = dict(n_layer=1, n_head=1, d_head=4, d_model=8, d_inner=8)
scales.MINI_SEGMENT = {50: 8, 128: 8, 150: 8, 512: 8}
scales.MINI_TOKENS_PER_STEP = 64
scales.MINI_STEPS = dict(enwik8=%(steps)d, wt103=%(steps)d)
scales.MINI_TRAINING = dict(lr=0.01, log_interval=1, save_interval=5, max_eval_steps=2)
text.SHORTER.update(max_step=%(steps)d, warmup_step=0, eval_interval=%(steps)d)
scales.MINI_TRAINING["encoded_dir"] = %(encoded_dir)r
sys.argv = ["reproduce", *%(flags)r]
errors.run_program(reproduce.main)
"""
RMT, TRXL = "pydoc-as-enwik8-128-rmt5-bptt1", "pydoc-as-enwik8-128-trxl10"


class Runner:
    """The program on two rows of Table 3, in a results folder of its own."""

    def __init__(self, results: Path, encoded_dir: Path):
        self.results, self.encoded_dir = results, str(encoded_dir)

    def folder(self, name: str, seed: int) -> Path:
        return self.results / "runs" / "mini-pydoc" / f"{name}-seed{seed}"

    def start(
        self, *flags: object, steps: int = 16, target: str = "table3", rows: tuple = (RMT, TRXL)
    ) -> subprocess.Popen:
        flags = [
            target,
            "--scale",
            "mini",
            "--rows",
            *rows,
            "--results",
            self.results,
            *flags,
        ]
        values = {"steps": steps, "encoded_dir": self.encoded_dir, "flags": [*map(str, flags)]}
        return subprocess.Popen([sys.executable, "-c", SMALL % values], **process_settings())

    def run(self, *flags: object, **settings) -> Outcome:
        process = self.start(*flags, **settings)
        out, err = process.communicate(timeout=300)
        return Outcome(process.returncode, out, err)

    def wait_for(self, process: subprocess.Popen, step: int, *folders: Path) -> None:
        """Until every one of the runs has logged the step."""
        deadline = time.monotonic() + 120
        while not all(_run_of(folder, step) for folder in folders):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _run_of(folder: Path, step: int) -> bool:
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and f'"step": {step},' in metrics.read_text()


def _written(path: Path) -> tuple[int, int]:
    """What changes when a file is written again (and, unlike all of stat, not when it is read)."""
    return path.stat().st_ino, path.stat().st_mtime_ns


@pytest.fixture
def runner(tmp_path, encoded_dir):
    return Runner(tmp_path, encoded_dir)


def test_what_is_missing_is_run_and_nothing_twice(runner):
    first = runner.run("--seeds", 2, "--jobs", 2)
    assert first.status == 0, first
    assert "0 of 4 runs are there, 4 left to do" in first.out
    results = {
        path: path.read_bytes() for path in runner.results.glob("runs/mini-pydoc/*/result.json")
    }
    assert len(results) == 4
    assert not [*runner.results.glob("runs/mini-pydoc/*.out")]
    row = next(line for line in first.out.splitlines() if line.startswith("| RMT BPTT-1 | 5 |"))
    assert f"[1](../runs/mini-pydoc/{RMT}-seed1) [2](../runs/mini-pydoc/{RMT}-seed2)" in row
    kept = (runner.results / "tables" / "table3-pydoc.md").read_text()
    assert row in kept
    assert kept in first.out
    assert RMT not in (runner.results / "tables" / "table3.md").read_text(), "it is of enwik8"

    shutil.rmtree(runner.folder(TRXL, 2))
    second = runner.run("--seeds", 2)
    assert "3 of 4 runs are there, 1 left to do" in second.out
    assert f"{TRXL}-seed2: End of training" in second.out
    same = {path: path.read_bytes() for path in results if path.parent.name != f"{TRXL}-seed2"}
    assert same.items() <= results.items()
    third = runner.run("--seeds", 2)
    assert "4 of 4 runs are there, 0 left to do" in third.out
    assert third.out.splitlines()[1:] == [
        line for line in second.out.splitlines()[1:] if "End of training" not in line
    ]


def test_a_run_begins_with_one_that_is_trained_first(runner):
    """Though that was not asked for; and again where its weights are gone."""
    wanted = {"target": "warm_start", "rows": ("pydoc-replay-1-from-trxl10",), "steps": 8}
    name, source = f"{wanted['rows'][0]}-seed1", "pydoc-short-trxl10-seed1"
    outcome = runner.run("--seeds", 1, "--jobs", 2, **wanted)
    assert outcome.status == 0, outcome
    assert "0 of 1 runs are there, 2 left to do" in outcome.out
    runs = runner.results / "runs" / "mini-pydoc"
    began_with = result(runs / name)["began_with"]
    assert began_with["run"].endswith(f"/mini-pydoc/{source}")
    assert (began_with["model"], began_with["step"]) == ("trxl", 8)
    again = runner.run("--seeds", 1, **wanted)
    assert "1 of 1 runs are there, 0 left to do" in again.out
    shutil.rmtree(runs / name)
    shutil.rmtree(runs / source / "checkpoints")
    sentence = assert_one_sentence(runner.run("--seeds", 1, **wanted))
    assert f"{source}, with which {name} begins, has no weights any more" in sentence
    shutil.rmtree(runs / source)
    assert runner.run("--seeds", 1, **wanted).status == 0


def planned(folder: Path, *flags) -> list[str]:
    """Names of what would run, in its order."""
    done = run(reproduce.main, *flags, "--scale", "mini", "--results", folder, "--dry_run")
    assert done.status == 0, done.err
    return re.findall(r"--work_dir \S*/(\S+)", done.out)


def test_a_chain_of_runs_is_trained_in_its_order(tmp_path):
    names = planned(tmp_path, "associative_longer", "--seeds", 1)
    assert names == [
        "remember20-armt-seed1",
        "remember50-armt-longer-seed1",
        "remember100-armt-longer-seed1",
    ]
    with_all = planned(tmp_path, "associative", "associative_longer", "--seeds", 1)
    assert [name for name in with_all if name in names] == names


def test_what_begins_with_lost_weights_stops_no_other(tmp_path):
    """As in a new clone, which has the logs alone."""
    log = Path("runs/mini-remember/remember20-armt-seed1")
    shutil.copytree(ROOT / "results" / log, tmp_path / log)
    flags = ("associative", "associative_longer", "--seeds", 1)
    names = planned(tmp_path, *flags)
    assert "remember5-armt-seed1" in names
    assert not [name for name in names if "longer" in name]
    flags = ("associative_longer", "--scale", "mini", "--seeds", 1, "--results", tmp_path)
    sentence = assert_one_sentence(run(reproduce.main, *flags, "--dry_run"))
    assert "remember20-armt-seed1, with which remember50-armt-longer-seed1 begins" in sentence


def test_a_run_that_fails_is_reported_and_stops_no_other(runner):
    damaged = runner.folder(RMT, 1) / "checkpoints" / "step-00000005"
    damaged.mkdir(parents=True)
    outcome = runner.run("--seeds", 1)
    assert outcome.status == 1
    assert f"failed: {RMT}-seed1: every checkpoint in" in outcome.out.splitlines()[-1]
    assert (runner.folder(TRXL, 1) / "result.json").exists()
    assert "is damaged" in runner.folder(RMT, 1).with_name(f"{RMT}-seed1.out").read_text()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killing_the_runner_loses_and_repeats_nothing(runner, n_jobs):
    steps, folders = 300, [runner.folder(name, 1) for name in (RMT, TRXL)]
    moments = [(1, folders[:n_jobs]), (150, folders[:n_jobs])]
    moments += [(1, folders[1:])] if n_jobs == 1 else []  # when the first of them is finished
    for step, watched in moments:
        process = runner.start("--seeds", 1, "--jobs", n_jobs, steps=steps)
        runner.wait_for(process, step, *watched)
        process.kill()
        process.communicate()
    finished = {path: _written(path) for path in runner.results.glob("runs/*/*/result.json")}
    if n_jobs == 1:
        assert len(finished) == 1
    assert runner.run("--seeds", 1, "--jobs", n_jobs, steps=steps).status == 0
    assert {path: _written(path) for path in finished} == finished
    for folder in folders:
        trained = [entry["step"] for entry in records(folder, "train")]
        assert trained == list(range(1, steps + 1))
    assert "continuing after step" in (folders[0] / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_saves_the_runs_and_says_how_to_go_on(runner, number):
    folders = [runner.folder(name, 1) for name in (RMT, TRXL)]
    process = runner.start("--seeds", 1, "--jobs", 2, steps=100_000)
    runner.wait_for(process, 3, *folders)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -number
    assert "interrupted: 2 runs are left, and the same command goes on with them" in out
    for folder in folders:
        assert (folder / "last").exists()
        assert not in_use(folder)


# Wrong use


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("table5 --scale mini", "invalid choice: 'table5'"),
        ("table3", "required: --scale"),
        ("table4 --scale midi", "at scale midi there is table3, not table4"),
        ("window --scale midi", "window is a study at mini scale: give --scale mini"),
        ("table3 --scale mini --seeds 0", "seeds must be at least 1"),
        ("table3 --scale mini --jobs 0", "jobs must be at least 1"),
        ("table3 --scale mini --share 3/2", "share must be I/N with I from 1 to N"),
        ("table3 --scale mini --share x", "share must be I/N with I from 1 to N"),
        ("table3 --scale mini --rows *rmt99*", "no row is named *rmt99*; there are "),
        ("table2 table3 --scale mini --data x", "--data can't be enwik8 and wt103"),
        ("table3 --scale mini --data nowhere", "nowhere"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path, flags, expected):
    outcome = run(reproduce.main, *flags.split(), "--results", tmp_path)
    assert expected in assert_one_sentence(outcome)
    assert not (tmp_path / "runs").exists()


def test_another_run_in_the_folder_is_left_alone(tmp_path):
    (own,) = (p for p in plans_for(["figure4"], "mini") if p.name == "copy-6x12-rmt12")
    folder = tmp_path / "runs" / own.folder_name(1)
    folder.mkdir(parents=True)
    parts = own.settings.record(own.model)
    parts["train"] |= {"seed": 1, "lr": 0.5}
    (folder / "config.json").write_text(json.dumps(parts))
    flags = ["figure4", "--scale", "mini", "--rows", own.name, "--results", tmp_path, "--dry_run"]
    expected = f"{folder} holds another run (lr differs): move it away"
    assert expected in assert_one_sentence(run(reproduce.main, *flags))


@pytest.mark.parametrize(("seed", "text", "other"), [(2, "abc", "seed"), (1, "xyz", "the text")])
def test_another_seed_or_text_in_the_folder_is_left_alone(tmp_path, seed, text, other):
    planned = Planned(a_plan(), 1, tmp_path, "abc")
    found = run_of(planned.plan, seed)
    config = {"model": asdict(found.model), "train": found.train}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "result.json").write_text(json.dumps(found.result | {"corpus": text, "tokens": 1}))
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UsageError, match=rf"\({other} differs\)"):
        planned.refuse_others()


def test_a_configuration_that_is_none_is_named(tmp_path):
    (own, *_) = plans_for(["figure4"], "mini")
    folder = tmp_path / "runs" / own.folder_name(1)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    flags = ["figure4", "--scale", "mini", "--results", tmp_path, "--dry_run"]
    sentence = assert_one_sentence(run(reproduce.main, *flags))
    assert f"{folder / 'config.json'} can't be read" in sentence


def test_the_papers_scale_needs_the_papers_text(tmp_path, text_file):
    flags = ["table3", "--scale", "paper", "--data", text_file, "--results", tmp_path]
    expected = "but the paper's has 204: get it with getdata.sh, or choose --scale mini"
    assert expected in assert_one_sentence(run(reproduce.main, *flags))


def test_a_dry_run_prints_commands_and_hours_and_writes_nothing(tmp_path):
    flags = "table1 --scale paper --seeds 2 --dry_run --results".split()
    outcome = run(reproduce.main, *flags, tmp_path)
    assert outcome.status == 0
    commands = [line for line in outcome.out.splitlines() if line.startswith("python -m rmt.train")]
    assert len(commands) == 6
    for line in commands:
        train.parse(line.split()[3:])
    assert "| one A100 | " in outcome.out
    assert "  quadratic-6x30-rmt30: 2 left\n" in outcome.out
    assert not [*tmp_path.iterdir()]


def test_shares_are_all_the_runs_once(tmp_path):
    def planned(*flags: str) -> list[str]:
        flags = ("figure4", "--scale", "mini", "--dry_run", *flags, "--results", tmp_path)
        return [
            line for line in run(reproduce.main, *flags).out.splitlines() if "rmt.train" in line
        ]

    shares = [line for i in range(1, 5) for line in planned("--share", f"{i}/4")]
    assert sorted(shares) == sorted(planned())


def test_every_row_has_its_first_run_before_others_and_the_longest_begins(tmp_path):
    rows = ["wt103-50-baseline", "wt103-50-trxl10", "wt103-50-rmt10-bptt3"]
    flags = ["table2", "--scale", "paper", "--seeds", 2, "--dry_run", "--results", tmp_path]
    lines = run(reproduce.main, *flags, "--rows", *rows).out.splitlines()
    commands = [train.parse(line.split()[3:]) for line in lines if "rmt.train" in line]
    assert [(flags["seed"], flags["model"]) for flags in commands] == [
        (seed, model) for seed in (1, 2) for model in ("rmt", "trxl", "baseline")
    ]


def test_a_scale_for_gpus_says_what_it_needs_where_there_is_none(tmp_path, monkeypatch):
    flags = ["table1", "--dry_run", "--results", tmp_path, "--scale"]
    monkeypatch.setattr(reproduce, "n_gpus", lambda: 0)
    sentence = "--scale paper is meant for a GPU, and PyTorch sees none here: on 1 CPU core this "
    (said,) = (
        line for line in run(reproduce.main, *flags, "paper").out.splitlines() if "meant" in line
    )
    assert re.fullmatch(re.escape(sentence) + r"takes about [\d,]+ hours; --scale mini is .*", said)
    assert "meant for a GPU" not in run(reproduce.main, *flags, "mini").out
    monkeypatch.setattr(reproduce, "n_gpus", lambda: 1)
    assert "meant for a GPU" not in run(reproduce.main, *flags, "paper").out


@pytest.mark.parametrize(
    ("asked", "n_gpus", "expected"),
    [(None, 0, 1), (None, 1, 1), (None, 4, 4), (3, 0, 3), (8, 1, 8)],
)
def test_every_gpu_has_one_run_unless_more_are_asked_for(asked, n_gpus, expected):
    assert Order(["table3"], "midi", jobs=asked, n_gpus=n_gpus).n_jobs == expected


def test_without_a_gpu_every_core_has_one_of_the_small_runs(monkeypatch):
    monkeypatch.setattr(foretold, "n_cores", lambda: 6)
    monkeypatch.setattr(planning, "n_cores", lambda: 6)
    assert Order(["table3"], "mini").n_jobs == 6
    assert Order(["table3"], "mini", jobs=2).n_jobs == 2
    assert Order(["table3"], "midi").n_jobs == 1


@pytest.mark.parametrize(("flags", "expected"), [([], None), (["--cuda_graph", "auto"], "auto")])
def test_on_a_gpu_runs_are_told_so(tmp_path, monkeypatch, flags, expected):
    monkeypatch.setattr(reproduce, "n_gpus", lambda: 1)
    what = ["table1", "--scale", "paper", "--dry_run", "--results", tmp_path]
    lines = run(reproduce.main, *what, *flags).out.splitlines()
    commands = [train.parse(line.split()[3:]) for line in lines if "rmt.train" in line]
    assert {own["cuda"] for own in commands} == {True}
    assert {own.get("cuda_graph") for own in commands} == {expected}


# The lock


def test_one_process_writes_a_run_folder(tmp_path):
    folder = RunFolder(tmp_path)
    assert in_use(tmp_path)
    with pytest.raises(UsageError, match="another process is writing the run in"):
        RunFolder(tmp_path)
    folder.close()
    assert not in_use(tmp_path)
    RunFolder(tmp_path).close()
