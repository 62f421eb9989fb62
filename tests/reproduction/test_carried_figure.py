"""Table 3 as a picture: scores against numbers carried."""

import pytest
from matplotlib import pyplot as plt

from helpers.logged import run_of
from rmt.paper.experiments import ADDED, rows
from rmt.reproduction import carried_figure
from rmt.reproduction.scales import plan

SHORT = [row for row in rows("table3") if row.segment_len == 128]


@pytest.fixture
def draw(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(carried_figure, "save_figure", lambda figure, out: kept.append(figure))

    def draw(runs):
        carried_figure.draw_by_carried(runs, tmp_path / "table3.png")
        return kept[-1].axes

    yield draw
    plt.close("all")


def lines_of(axis) -> dict[str, list]:
    return {own.get_label(): own.lines[0].get_xydata().tolist() for own in axis.containers}


def test_the_published_points_are_the_tables(draw):
    paper, *_ = draw([])
    lines = lines_of(paper)
    assert set(lines) == {"trxl", "rmt, BPTT-0", "rmt, BPTT-1", "rmt, BPTT-2"}
    assert sum(map(len, lines.values())) == len(SHORT)
    # 512 numbers in each memory token, and in each of 12 layers of a cached state.
    assert lines["rmt, BPTT-2"] == [[512 * n, s] for n, s in ((5, 1.231), (10, 1.228), (20, 1.222))]
    assert lines["trxl"][0] == [12 * 512 * 10, 1.283]


def test_ours_are_means_over_seeds_at_their_own_scale(draw):
    (row,) = (r for r in SHORT if (r.model, r.memory, r.bptt_unrolls) == ("rmt", 10, 1))
    runs = [run_of(plan(row, "midi"), seed, score) for seed, score in ((1, 2.1), (2, 2.3))]
    runs += [run_of(plan(ADDED["table3"][0], "mini"), 1, 2.9)]
    _, midi, mini = draw(runs)
    assert lines_of(midi) == {"rmt, BPTT-1": [[2560, pytest.approx(2.2)]]}
    assert not lines_of(mini)
    (level,) = mini.get_lines()
    assert (level.get_label(), level.get_ydata()[0]) == ("nothing carried", 2.9)
    assert midi.get_title() == "ours, midi scale"


def test_a_scale_without_runs_says_so(draw):
    _, midi, mini = draw([])
    assert midi.get_title() == "ours, midi scale: not run"
    assert not midi.containers
    assert not mini.get_lines()
