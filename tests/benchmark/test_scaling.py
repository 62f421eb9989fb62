"""The measurements of cost, at small sizes: what they count, print and keep."""

import itertools
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.programs import assert_one_sentence, run
from rmt import scaling as program
from rmt.benchmark import scaling
from rmt.benchmark.measure import made_up_text
from rmt.runs.settings import Settings
from rmt.runtime.device import peak_memory
from rmt.runtime.errors import UsageError


def test_training_and_evaluation_report_their_cost(monkeypatch):
    """By a clock that goes on by two seconds whenever it is read."""
    ticks = itertools.count(step=2)
    monkeypatch.setattr(scaling, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    for function, n_ids, amount in (
        (scaling.train_steps, 8 * (3 * 64 + 1), 3 * 8 * 64),
        (scaling.evaluate_tokens, 1300, 1300),
    ):
        settings = Settings.of(scaling.SMALL)
        model = settings.model(scaling.N_SYMBOLS)
        found = function(model, made_up_text(model, settings.train, n_ids))
        assert (found["amount"], found["seconds"]) == (amount, 2)
        assert found["peak_memory_bytes"] == pytest.approx(peak_memory(scaling.CPU), rel=0.5)


def test_streams_of_several_lengths_are_measured(monkeypatch):
    plans = []
    monkeypatch.setattr(
        scaling,
        "in_new_process",
        lambda function, _, text: plans.append((function, len(text.corpus.splits["train"]))) or {},
    )
    assert scaling.stream(0.05) == [{}] * 5
    assert plans[:2] == [(scaling.train_steps, 8 * (n * 64 + 1)) for n in (3, 30)]
    assert plans[2:] == [(scaling.evaluate_tokens, n) for n in (2_000, 20_000, 200_000)]


def test_tokens_that_are_said_are_measured(monkeypatch):
    """Both ways of decoding, of which one keeps nothing: rows of a layer are counted."""
    ticks, rows, plans = itertools.count(step=2), [], []
    monkeypatch.setattr(scaling, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(scaling, "in_new_process", lambda *plan: plans.append(plan) or {})
    assert scaling.generation(0.01) == [{}] * 4
    assert [plan[3:5] for plan in plans] == [(100, True), (1000, True), (256, True), (256, False)]
    build = scaling.build

    def watched(options):
        model = build(options)
        hook = model.layers[0].feed_forward.register_forward_pre_hook
        hook(lambda module, inputs: rows.append(inputs[0].shape[1]))
        return model

    monkeypatch.setattr(scaling, "build", watched)
    for plan, latest in zip(plans[2:], (1, 10 + 128), strict=True):
        rows.clear()
        found = plan[0](*plan[1:])
        assert (found["amount"], found["seconds"], found["unit"]) == (255, 2, "tokens")
        assert rows[127] == latest, "the last of a segment, with or without those before it"


def test_processes_take_turns(monkeypatch):
    calls = []
    monkeypatch.setattr(
        scaling,
        "train_in_processes",
        lambda n, n_steps, cores, tiny: calls.append((n, n_steps, len(cores) > 1, tiny)) or {},
    )
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda _: {0, 1})
    assert scaling.ranks(0.4) == [{}] * 4
    assert calls == [(n, 4, True, True) for n in (1, 2, 1, 2)]
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(UsageError, match="needs two cores"):
        scaling.ranks(1.0)


def test_every_word_is_written_and_encoded(monkeypatch):
    written = []

    def in_this_process(function, folder, n_words):
        written.extend(Path(folder, "train.txt").read_text().split())
        cores = os.sched_getaffinity(0)
        try:
            return function(folder, n_words)
        finally:
            os.sched_setaffinity(0, cores)

    monkeypatch.setattr(scaling, "N_TYPES", 60)
    monkeypatch.setattr(scaling, "in_new_process", in_this_process)
    [found] = scaling.encoding(1e-5)
    assert len(written) == 1000
    assert len(set(written)) == 60
    assert (found["amount"], found["note"]) == (1000, "61 types"), "with <eos>"


def test_a_run_in_processes_is_measured(monkeypatch):
    """By the rate in its log, which is made 512 tokens/s here."""
    real = subprocess.run

    def run(command, **settings):
        done = real(command, **settings)
        path = Path(command[command.index("--work_dir") + 1], "metrics.jsonl")
        lines = map(json.loads, path.read_text().splitlines())
        rated = [line | {"tokens_per_s": 512.0} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in rated))
        return done

    monkeypatch.setattr(scaling.subprocess, "run", run)
    core = min(os.sched_getaffinity(0))
    found = scaling.train_in_processes(1, 2, [core], tiny=True)
    what = {"what": "training, 1 process", "unit": "tokens"}
    assert found == what | {"amount": 8 * 128, "seconds": 2}


def test_the_program_prints_a_table_and_keeps_the_measurements(tmp_path, monkeypatch):
    row = {"what": "x", "amount": 1200, "unit": "words", "seconds": 2.0}
    rows = [row, row | {"peak_memory_bytes": 3 * 2**20}]
    monkeypatch.setitem(scaling.MEASUREMENTS, "encoding", lambda share: rows if share == 0.5 else 0)
    out = tmp_path / "cost.json"
    outcome = run(program.main, "encoding", "--share", "0.5", "--out", out)
    assert outcome.out.splitlines()[2:] == [
        "| x | 1,200 words | 2.0 | 600 |  |",
        "| x | 1,200 words | 2.0 | 600 | 3 MiB |",
    ]
    assert json.loads(out.read_text())["results"] == rows


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("speed", "invalid choice: 'speed'"),
        ("stream --out nowhere/found.json", "nowhere/found.json can't be written (No such file"),
        ("stream --share 0", "share must be above 0"),
        ("", "required"),
    ],
)
def test_wrong_use_is_one_sentence(flags, expected):
    assert expected in assert_one_sentence(run(program.main, *flags.split()))
