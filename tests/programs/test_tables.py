"""Tables and curves from run folders made by hand."""

import json
import math
import shutil
from dataclasses import asdict

import pytest

from helpers.logged import write_task_run
from helpers.models import tiny_config
from helpers.programs import ROOT, assert_one_sentence, run
from rmt import figures, tables
from rmt.paper.published import published_cells
from rmt.reproduction import text_figures
from rmt.runs.logged_runs import finished_runs, read_runs
from rmt.runtime.errors import UsageError


def write_run(folder, model, bpc, seed=1, *, unrolls=0, corpus="abc", tgt_len=8, **train):
    folder.mkdir(parents=True)
    train |= {"bptt_unrolls": unrolls, "bptt_mode": "replay", "seed": seed, "tgt_len": tgt_len}
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


def test_runs_with_other_cutoffs_are_another_model(runs):
    write_run(runs / "a-seed2", tiny_config("baseline", cutoffs=(7, 9)), 4.0, seed=2)
    rows = run(tables.main, "runs", runs).out.splitlines()
    assert [row.split(" | ")[1:3] for row in rows[2:4]] == [["2.000", "1"], ["4.000", "1"]]


def test_runs_of_different_texts_share_no_table(runs):
    write_run(runs / "d-seed1", tiny_config("baseline"), 2.0, corpus="other")
    outcome = run(tables.main, "runs", runs)
    assert outcome.status == 2
    assert "different texts" in outcome.err


def test_unfinished_and_absent_runs_are_named(runs, tmp_path):
    whole = run(tables.main, "runs", runs)
    (runs / "c-seed1" / "result.json").unlink()
    among_others = run(tables.main, "runs", runs)
    assert among_others.status == 0
    assert "c-seed1 is unfinished and left out" in among_others.err
    assert len(among_others.out) < len(whole.out)
    alone = run(tables.main, "runs", runs / "c-seed1")
    assert "c-seed1 is not a finished run" in assert_one_sentence(alone)
    assert "there is no run" in run(tables.main, "runs", tmp_path / "nothing").err


def test_curves_are_drawn_alike_twice(runs):
    for name in ("one.png", "two.png"):
        assert run(figures.main, "curves", runs, "--out", runs / name).status == 0
    first, second = ((runs / name).read_bytes() for name in ("one.png", "two.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_seeds_of_a_configuration_share_a_place_in_the_legend(runs, monkeypatch):
    kept = []
    monkeypatch.setattr(text_figures, "save_figure", lambda figure, out: kept.append(figure))
    text_figures.draw_curves(read_runs([runs]), runs / "one.png")
    labels = [text.get_text() for text in kept[0].legends[0].get_texts()]
    assert labels == [
        "baseline: test 2.000",
        "rmt, memory 3, BPTT-2 (2 runs): test 1.500",
        "trxl_rmt, memory 2, cache 9, BPTT-0: test 1.000",
    ]
    colours = [line.get_color() for line in kept[0].axes[0].get_lines()]
    assert len(colours) == 4
    assert colours[1] == colours[2]
    assert len({*colours}) == 3


def test_scores_stand_over_the_length_of_their_segments(runs, monkeypatch):
    kept = []
    monkeypatch.setattr(text_figures, "save_figure", lambda figure, out: kept.append(figure))
    write_run(runs / "d-seed1", tiny_config("rmt", mem_len=3), 1.0, unrolls=2, tgt_len=4)
    text_figures.draw_by_segment(read_runs([runs]), runs / "one.png")
    [axis] = kept[0].axes
    drawn = {line.get_label(): line.lines[0].get_xydata().tolist() for line in axis.containers}
    assert drawn == {
        "baseline": [[8, 2.0]],
        "rmt, memory 3, BPTT-2": [[4, 1.0], [8, 1.5]],
        "trxl_rmt, memory 2, cache 9, BPTT-0": [[8, 1.0]],
    }
    write_run(runs / "e-seed1", tiny_config("rmt", mem_len=3, n_layer=1), 1.0, unrolls=2)
    with pytest.raises(UsageError, match=r"b-seed1 differs from others of its length, n_layer 3"):
        text_figures.draw_by_segment(read_runs([runs]), runs / "one.png")


def test_a_memory_that_grows_with_the_segments_is_one_line_of_its_model(runs, monkeypatch):
    kept = []
    monkeypatch.setattr(text_figures, "save_figure", lambda figure, out: kept.append(figure))
    for i, (memory, tgt_len) in enumerate(((2, 16), (4, 32), (3, 16), (3, 32))):
        options = tiny_config("trxl", mem_len=memory)
        write_run(runs / f"scaled{i}-seed1", options, 1.0 + i, tgt_len=tgt_len)
    own = [run for run in read_runs([runs]) if "scaled" in run.path.name]
    text_figures.draw_by_segment(own, runs / "one.png", text_figures.by_part_of_segment)
    lines = {line.get_label(): line.lines[0] for line in kept[0].axes[0].containers}
    assert list(lines) == ["trxl, cache 1/8 of a segment", "trxl, cache 3"]
    assert [line.get_linestyle() for line in lines.values()] == ["-", "--"]
    assert [line.get_ydata().tolist() for line in lines.values()] == [[1.0, 2.0], [3.0, 4.0]]


def test_a_run_that_was_changed_midway_is_not_one_more_seed(runs):
    config = json.loads((runs / "b-seed2/config.json").read_text())
    (runs / "b-seed2/config.json").write_text(json.dumps(config | {"changed": ["lr"]}))
    rows = run(tables.main, "runs", runs).out.splitlines()
    assert [row.split("|")[1].strip() for row in rows[3:5]] == [
        "rmt, memory 3, BPTT-2, changed None",
        "rmt, memory 3, BPTT-2, changed lr",
    ]


def test_models_that_are_looked_into_are_no_seeds(task_runs, tmp_path):
    shutil.copytree(task_runs, tmp_path / "runs" / "tasks")
    n_runs = len(finished_runs(tmp_path / "runs"))
    assert n_runs > 0
    shutil.copytree(task_runs, tmp_path / "runs" / "memory")
    assert len(finished_runs(tmp_path / "runs")) == n_runs


def test_an_option_that_is_newer_than_a_run_had_its_default(runs):
    config = json.loads((runs / "b-seed2/config.json").read_text())
    config["train"]["clip"] = 0.25
    (runs / "b-seed2/config.json").write_text(json.dumps(config))
    rows = run(tables.main, "runs", runs).out.splitlines()
    assert [row.split("|")[3].strip() for row in rows[2:]] == ["1", "2", "1"]


def test_runs_of_one_name_are_told_apart_by_what_differs(runs, tmp_path):
    write_run(runs / "d-seed1", tiny_config("rmt", mem_len=3, n_layer=1), 1.0, unrolls=2)
    rows = run(tables.main, "runs", runs).out.splitlines()
    assert [row.split("|")[1].strip() for row in rows[3:6]] == [
        "rmt, memory 3, BPTT-2, n_layer 3",
        "trxl_rmt, memory 2, cache 9, BPTT-0",
        "rmt, memory 3, BPTT-2, n_layer 1",
    ]
    for name, layers in (("a", 2), ("b", 4)):
        write_task_run(
            tmp_path / "tasks" / name, "copy", "rmt", 3, model_options={"n_layer": layers}
        )
    rows = run(tables.main, "tasks", tmp_path / "tasks").out.splitlines()
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["rmt, n_layer 2", "rmt, n_layer 4"]


def test_a_batch_size_that_follows_the_length_is_left_out(tmp_path):
    for i, (length, batch) in enumerate([(8, 4), (16, 2), (16, 2)]):
        model = tiny_config("baseline")
        write_run(tmp_path / f"{i}", model, 1.0, seed=i, tgt_len=length, batch_size=batch)
    labels = [
        row.split("|")[1].strip() for row in run(tables.main, "runs", tmp_path).out.splitlines()
    ]
    assert labels[2:4] == ["baseline, tgt_len 8", "baseline, tgt_len 16"]
    write_run(tmp_path / "3", tiny_config("baseline"), 1.0, tgt_len=16, batch_size=4)
    labels = [
        row.split("|")[1].strip() for row in run(tables.main, "runs", tmp_path).out.splitlines()
    ]
    assert labels[2:5] == [
        "baseline, tgt_len 8, batch_size 4",
        "baseline, tgt_len 16, batch_size 2",
        "baseline, tgt_len 16, batch_size 4",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", "{}"),
        ("result.json", "[]"),
        ("result.json", "null"),
        ("config.json", '{"model": {"n_token": 3, "mem_len": 1}, "train": {}}'),
        ("config.json", "7"),
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", "{\n"),
    ],
)
def test_damaged_files_are_named(runs, task_runs, name, content):
    for table, folder in (("runs", runs / "a-seed1"), ("tasks", task_runs / "a1")):
        (folder / name).write_text(content)
        said = assert_one_sentence(run(tables.main, table, folder))
        assert f"the files of {folder} can't be read" in said


@pytest.mark.parametrize("score", ["NaN", "Infinity"])
def test_a_score_that_is_no_number_is_named(runs, task_runs, score):
    for table, folder, name in (
        ("runs", runs / "a-seed1", "test_bpc"),
        ("tasks", task_runs / "a1", "test_acc"),
    ):
        found = json.loads((folder / "result.json").read_text()) | {name: float(score)}
        (folder / "result.json").write_text(json.dumps(found))
        said = assert_one_sentence(run(tables.main, table, folder))
        assert f"the files of {folder} can't be read (the test score is" in said


def test_the_committed_table_is_what_the_committed_runs_give():
    outcome = run(tables.main, "runs", ROOT / "results/runs/enwik8-small", "--without_speed")
    assert outcome.out == (ROOT / "results/tables/enwik8-small.md").read_text()


# --- runs on the algorithmic tasks ---------------------------------------------------------------


@pytest.fixture
def task_runs(tmp_path):
    """Reverse with two seeds of rmt, retrieval, quadratic equations, and copy with n 120."""
    folder = tmp_path / "tasks"
    write_task_run(folder / "a1", "reverse", "rmt", 12, 4, 0.9, seed=1, steps=300)
    write_task_run(folder / "a2", "reverse", "rmt", 12, 4, 0.8, seed=2, steps=1500)
    write_task_run(folder / "b", "reverse", "rmt", 12, 4, 0.2, unrolls=0)
    write_task_run(folder / "c", "reverse", "baseline", 0, 4, 0.125)
    write_task_run(folder / "d", "quadratic", "rmt", 30, 6, 0.9)
    write_task_run(folder / "e", "retrieval", "trxl", 5, 2, 1.0)
    write_task_run(folder / "f", "copy", "trxl", 60, 3, 0.5, n=120)
    write_task_run(folder / "g", "copy", "rmt", 7, 3, 0.5)
    no_lessons, lessons = ({"recipe": "fast", "curriculum": n} for n in (0, -1))
    write_task_run(folder / "h", "copy", "trxl", 12, 6, 0.9, training=no_lessons)
    write_task_run(folder / "i", "copy", "trxl", 12, 6, 0.6, training=lessons)
    write_task_run(folder / "j", "quadratic", "trxl", 30, 6, 0.9, training=no_lessons)
    return folder


def test_tasks_stand_beside_what_the_authors_measured(task_runs):
    outcome = run(tables.main, "tasks", task_runs)
    assert outcome.status == 0, outcome.err
    rows = [line.strip("| ").split(" | ") for line in outcome.out.splitlines()]
    assert rows[0] == (
        "task model segments memory ours,whole answers,teacher-forced seeds steps minutes authors"
    ).replace(" ", ",").replace("whole,", "whole ").split(",")
    spread = f"{math.sqrt(0.005):.3f}"
    expected = """
        copy, n 24 | rmt | 3 of 24 | 7 | 0.500 | 0.250 | 0.550 | 1 | 300 | 1.0 |
        copy, n 24 | trxl | 6 of 12 | 12 | 0.600 | 0.300 | 0.650 | 1 | 300 | 1.0 | 0.967 ± 0.045 (3)
        copy, n 24 | trxl, no lessons | 6 of 12 | 12 | 0.900 | 0.450 | 0.950 | 1 | 300 | 1.0 | 0.967 ± 0.045 (3)
        copy, n 120 | trxl | 3 of 120 | 60 | 0.500 | 0.250 | 0.550 | 1 | 300 | 1.0 | 0.778 ± 0.110 (4)
        reverse, n 24 | baseline | 4 of 12 | 0 | 0.125 | 0.062 | 0.175 | 1 | 300 | 1.0 | 0.101 ± 0.001 (2)
        reverse, n 24 | rmt | 4 of 12 | 12 | 0.850 ± SPREAD | 0.425 | 0.900 | 2 | 900 | 1.5 | 1.000 ± 0.000 (3)
        reverse, n 24 | rmt, BPTT-0 | 4 of 12 | 12 | 0.200 | 0.100 | 0.250 | 1 | 300 | 1.0 |
        retrieval, 4 pairs | trxl | 2 of 5 | 5 | 1.000 | 0.500 | 1.000 | 1 | 300 | 1.0 | 1.000 ± 0.000 (3)
        quadratic | trxl | 6 of 30 | 30 | 0.900 | 0.450 | 0.950 | 1 | 300 | 1.0 | 0.93
        quadratic | rmt | 6 of 30 | 30 | 0.900 | 0.450 | 0.950 | 1 | 300 | 1.0 | 0.99 ± 0.002
    """.replace("SPREAD", spread)  # noqa: E501
    assert [" | ".join(row) for row in rows[2:]] == [
        line.strip().removesuffix(" |") for line in expected.strip().splitlines()
    ]
    assert "minutes" not in run(tables.main, "tasks", task_runs, "--without_speed").out


def test_columns_that_say_nothing_of_their_own_are_left_out(task_runs):
    """The authors have no copy of 7 memory tokens; an answer of one token is right as a whole."""
    path = task_runs / "g" / "result.json"
    found = json.loads(path.read_text())
    equal = dict.fromkeys(("test_forced_accuracy", "test_sequence_accuracy"), found["test_acc"])
    for same, more in (({}, ["whole answers", "teacher-forced"]), (equal, [])):
        path.write_text(json.dumps(found | same))
        head = run(tables.main, "tasks", path.parent).out.splitlines()[0].strip("| ").split(" | ")
        assert head[4:] == ["ours", *more, "seeds", "steps", "minutes"]


def test_seeds_share_a_row_wherever_their_samples_lie(task_runs):
    seeds = [task_runs / "a1", task_runs / "a2"]
    assert len({read.train["encoded_dir"] for read in read_runs(seeds)}) == 2
    assert len(run(tables.main, "tasks", *seeds).out.splitlines()) == 3, "the head and one row"


def test_text_and_tasks_share_no_table_and_no_figure(runs, task_runs):
    said = [
        assert_one_sentence(run(tables.main, "runs", runs, task_runs)),
        assert_one_sentence(run(tables.main, "runs", task_runs)),
        assert_one_sentence(run(figures.main, "curves", task_runs, "--out", runs / "a.png")),
    ]
    assert all("not on text" in sentence for sentence in said)
    said = [
        assert_one_sentence(run(tables.main, "tasks", task_runs, runs)),
        assert_one_sentence(run(tables.main, "tasks", runs)),
        assert_one_sentence(run(figures.main, "accuracy", runs, "--out", runs / "a.png")),
    ]
    assert all("not on a task" in sentence for sentence in said)
    assert not (runs / "a.png").exists()


# --- published numbers ---------------------------------------------------------------------------


def test_published_numbers_are_those_of_the_paper():
    cells = {cell.place: cell for cell in published_cells()}
    assert len(cells) == 50 + 22 + 3, "every cell has a place of its own"
    cell = cells["copy", "trxl", 12, 6]
    assert (cell.accuracy, cell.std, cell.runs, cell.segment_len) == (0.967, 0.045, 3, 12)
    assert cells["copy360", "rmt", 60, 9].accuracy == 0.579
    assert cells["quadratic", "baseline", 0, 1].std == 0.01
    assert cells["quadratic", "trxl", 30, 6].std is None


def test_absent_and_damaged_published_numbers_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run this in the folder of the project's source"):
        published_cells(tmp_path)
    for path in (ROOT / "results/paper").glob("*.csv"):
        (tmp_path / path.name).write_text(path.read_text().replace("accuracy", "something"))
    with pytest.raises(OSError, match="damaged"):
        published_cells(tmp_path)
