"""Accuracy by the size of samples: one line a model, the mean over seeds at every size."""

import pytest
from matplotlib import pyplot as plt

from helpers.logged import write_task_run
from helpers.programs import assert_one_sentence, run
from rmt import figures
from rmt.reproduction import task_figures
from rmt.runs.logged_runs import read_runs


@pytest.fixture
def runs(tmp_path):
    for pairs, accuracies in ((5, (0.9, 0.8)), (20, (0.5,))):
        for seed, accuracy in enumerate(accuracies, start=1):
            place = tmp_path / f"rmt-{pairs}-{seed}"
            sizes = {"pairs": pairs, "segments": pairs + 1, "accuracy": accuracy, "seed": seed}
            write_task_run(place, "remember", "rmt", 4, **sizes)
    write_task_run(tmp_path / "nothing", "remember", "baseline", 0, 6, 0.1, pairs=5)
    return tmp_path


def test_the_lines_are_the_means(runs, monkeypatch):
    kept = []
    monkeypatch.setattr(task_figures, "save_figure", lambda figure, out: kept.append(figure))
    task_figures.draw_by_size(read_runs([runs]), runs / "sizes.png")
    (axis,) = kept[0].axes
    lines = {line.get_label(): line.lines[0].get_xydata() for line in axis.containers}
    by_size = {name.split(",")[0]: points.tolist() for name, points in lines.items()}
    assert by_size["rmt"] == [[5, pytest.approx(0.85)], [20, 0.5]]
    assert by_size["baseline"] == [[5, 0.1]]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["5", "20"]
    plt.close("all")


def test_the_program_writes_it(runs):
    assert run(figures.main, "size", runs, "--out", runs / "sizes.png").status == 0
    assert (runs / "sizes.png").read_bytes().startswith(b"\x89PNG")


def test_one_task_at_a_time(runs):
    write_task_run(runs / "copy", "copy", "rmt", 4, 6, 0.3)
    refused = run(figures.main, "size", runs, "--out", runs / "sizes.png")
    assert "on copy and remember: draw one task at a time" in assert_one_sentence(refused)


def test_runs_that_differ_by_more(runs):
    write_task_run(
        runs / "other", "remember", "rmt", 4, 6, 0.3, pairs=5, model_options={"d_model": 32}
    )
    refused = run(figures.main, "size", runs, "--out", runs / "sizes.png")
    assert "differs from others of its size" in assert_one_sentence(refused)
