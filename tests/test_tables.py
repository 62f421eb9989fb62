"""Tables and curves from run folders made by hand."""

import json
from dataclasses import asdict

import pytest

from models import tiny_config
from programs import ROOT, run
from rmt import figures, tables
from rmt.logged_runs import read_runs


def write_run(folder, model, bpc, seed=1, *, unrolls=0, corpus="abc"):
    folder.mkdir(parents=True)
    train = {"bptt_unrolls": unrolls, "bptt_mode": "replay", "seed": seed}
    result = {"test_bpc": bpc, "tokens": 5000, "tokens_per_s": 100.0 * seed, "corpus": corpus}
    result |= {"n_all_param": 1234}
    metrics = [
        {"kind": kind, "step": step, "loss": 3 - step / 10, "tokens": 100 * step}
        for step in (1, 2, 3)
        for kind in ("train", "valid")
    ]
    (folder / "config.json").write_text(json.dumps({"model": asdict(model), "train": train}))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    return folder


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "a-seed1", tiny_config("baseline"), 2.0)
    rmt = tiny_config("rmt", mem_len=3)
    write_run(tmp_path / "b-seed1", rmt, 1.75, unrolls=2)
    write_run(tmp_path / "b-seed2", rmt, 1.25, seed=2, unrolls=2)
    both = tiny_config("trxl_rmt", mem_len=2, cache_len=9)
    write_run(tmp_path / "c-seed1", both, 1.0)
    return tmp_path


def test_a_row_per_configuration_with_mean_and_spread_over_seeds(runs):
    outcome = run(tables.main, "runs", runs)
    assert outcome.status == 0
    rows = [line.strip("| ").split(" | ") for line in outcome.out.splitlines()]
    assert rows[0][:4] == ["model", "test bpc", "seeds", "numbers carried"]
    assert "tokens/s" not in run(tables.main, "runs", runs, "--without_speed").out
    assert rows[2:] == [
        ["baseline", "2.000", "1", "0", "5,000", "1,234", "100"],
        ["rmt, memory 3, BPTT-2", "1.500 ± 0.354", "2", "24", "5,000", "1,234", "150"],
        # 2 rows of memory and 9 cached rows in each of 3 layers, 8 numbers a row
        ["trxl_rmt, memory 2, cache 9, BPTT-0", "1.000", "1", "232", "5,000", "1,234", "100"],
    ]


def test_runs_of_different_texts_share_no_table(runs):
    write_run(runs / "d-seed1", tiny_config("baseline"), 2.0, corpus="other")
    outcome = run(tables.main, "runs", runs)
    assert outcome.status == 2
    assert "different texts" in outcome.err


def test_unfinished_and_absent_runs_are_named(runs, tmp_path):
    (runs / "c-seed1" / "result.json").unlink()
    assert "c-seed1 is not a finished run" in run(tables.main, "runs", runs).err
    assert "there is no run" in run(tables.main, "runs", tmp_path / "nothing").err


def test_curves_are_drawn_alike_twice(runs):
    for name in ("one.png", "two.png"):
        assert run(figures.main, "curves", runs, "--out", runs / name).status == 0
    first, second = ((runs / name).read_bytes() for name in ("one.png", "two.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_labels_tell_runs_apart(runs):
    labels = [logged.label for logged in read_runs([runs])]
    assert labels[1:3] == ["rmt, memory 3, BPTT-2"] * 2


def test_the_committed_table_is_what_the_committed_runs_give():
    folder, table = ROOT / "results/runs/enwik8-small", ROOT / "results/tables/enwik8-small.md"
    outcome = run(tables.main, "runs", folder, "--without_speed")
    assert outcome.out == table.read_text()
    assert outcome.out in (ROOT / "README.md").read_text()
