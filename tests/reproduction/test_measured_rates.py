"""Hours by what was measured: which steps a row's hours are made of, and what the page says."""

import json
from dataclasses import asdict

import pytest

from helpers.programs import ROOT, assert_one_sentence, run
from rmt import expected
from rmt.options.training import CAPTURED, EAGER
from rmt.paper.experiments import rows
from rmt.reproduction.measured_rates import closest, read_measured
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import plan

H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
COLUMN = "H100, H200"


def row(model: str, memory: int, n_unrolls: int | None = None, segment: int = 128) -> Plan:
    """A row of Table 3 at the paper's scale."""
    name = (model, memory, n_unrolls, segment)
    return next(
        plan(each, "paper")
        for each in rows("table3")
        if (each.model, each.memory, each.bptt_unrolls, each.segment_len) == name
    )


RMT = row("rmt", 20, 1)


def timed(own: Plan, seconds: float, form: str = EAGER, model=(), **train) -> dict:
    """What rmt.bench writes of a plan's steps; precision is bf16."""
    options = asdict(own.model) | dict(model)
    found = {"n_token": options.pop("n_token"), "model": options}
    found["train"] = own.settings.train.recorded() | {"precision": "bf16"} | train
    return {**found, "seconds_per_step": seconds, "step_form": form}


@pytest.fixture
def kept(tmp_path):
    """kept(gpu, results): keep a report of that GPU; returns what is measured in all of them."""

    def kept(gpu: str | None, *results: dict):
        machine = {"cpu": "x"} | ({"gpu": gpu} if gpu else {})
        name = f"report{len(list(tmp_path.iterdir()))}.json"
        (tmp_path / name).write_text(json.dumps({"machine": machine, "results": results}))
        return read_measured(tmp_path)

    return kept


def hours_of(own: Plan, page: str, column: str = COLUMN) -> str:
    """What stands in the table."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    train, model = own.settings.train, own.model
    depth = str(train.bptt_unrolls) if model.carried.gradient else ""
    key = [train.dataset, model.model, str(train.tgt_len), str(model.memory), depth]
    (found,) = (line for line in lines[2:] if [*line[:2], *line[3:6]] == key)
    return found[lines[0].index(f"hours on {column}")]


def test_a_row_that_was_measured_takes_as_long_as_its_steps(kept, tmp_path):
    kept(H200, timed(RMT, 0.018))
    page = run(expected.main, "--reports", tmp_path).out
    assert hours_of(RMT, page) == "2.0" == f"{400_000 * 0.018 / 3600:.1f}"
    assert hours_of(RMT, page, "A100") == "~9.4", "no report of it: at 20% of its peak"
    assert hours_of(row("rmt", 20, 2), page) == "3.0", "half as much again: a segment more"
    wt103 = next(plan(each, "paper") for each in rows("table2") if each.model == "rmt")
    assert hours_of(wt103, page).startswith("~"), "a model of other sizes"
    about = "- NVIDIA H200, `report0.json`: enwik8, rmt, memory 20, BPTT-1, segment 128, batch 64"
    assert f"{about}: 30% of the peak\n" in page
    assert page.count("- NVIDIA") == 1


def test_what_was_measured_is_left_out_where_a_share_is_given_or_in_another_precision(
    kept, tmp_path
):
    kept(H100, timed(RMT, 0.0225))
    for flags in (["--utilization", "0.2"], ["--precision", "fp32"]):
        page = run(expected.main, *flags, "--reports", tmp_path).out
        assert "NVIDIA" not in page
        assert page.startswith("Hours with ~ are estimated, at ")
        table = [line for line in page.splitlines() if line.startswith("| enwik8")]
        assert all(line.count("~") == 4 for line in table)


@pytest.mark.parametrize(
    ("own", "chosen"),
    [
        (row("rmt", 20, 2), 2),
        (row("rmt", 5, 1), 1),
        (row("rmt", 20, 0), 4),  # of this depth there are compiled steps alone, but trxl's
        (row("trxl", 20), 4),
    ],
)
def test_steps_as_they_are_go_before_others_then_the_depth_then_the_model(kept, own, chosen):
    results = [
        timed(RMT, 9.0, form=CAPTURED),
        timed(RMT, 1.0),
        timed(row("rmt", 10, 2), 2.0),
        timed(row("rmt", 20, 0), 3.0, form="compiled"),
        timed(row("trxl", 100), 4.0),
    ]
    measured = kept(H100, *results)
    assert measured.index(closest(measured, COLUMN, own, "bf16")) == chosen


@pytest.mark.parametrize(
    "other",
    [
        timed(RMT, 1.0, model={"n_layer": 6}),
        timed(RMT, 1.0, bptt_mode="window"),
        timed(RMT, 1.0, precision="fp32"),
        timed(RMT, 1.0, batch_size=8),
        timed(RMT, 1.0, dataset="text8"),
    ],
)
def test_steps_that_are_not_like_a_rows_say_nothing_of_it(kept, other):
    assert closest(kept(H100, other), COLUMN, RMT, "bf16") is None
    assert closest(kept(H100, timed(RMT, 1.0)), COLUMN, RMT, "bf16") is not None
    assert closest(kept(H100, timed(RMT, 1.0)), "A100", RMT, "bf16") is None


def test_reports_of_cpus_and_of_other_things_are_passed_over(kept):
    assert kept(None, timed(RMT, 1.0)) == []
    assert kept(H100, {"what": "encoding", "seconds": 1.0}) == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"machine": {"gpu": "x"}, "results": [{"seconds_per_step": 1}]}']
)
def test_a_damaged_report_is_named(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    sentence = assert_one_sentence(run(expected.main, "--reports", tmp_path))
    assert f"{tmp_path / 'mine.json'} can't be read as a report of rmt.bench" in sentence


def test_the_page_kept_is_what_the_program_prints():
    """Make it anew with `python -m rmt.expected > results/bench/expected.md`."""
    kept = (ROOT / "results" / "bench" / "expected.md").read_text()
    assert run(expected.main).out == kept
