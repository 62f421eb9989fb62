"""Figures of runs; most of those of runs on text are in test_tables.py."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from matplotlib import pyplot as plt

from helpers.logged import run_of, write_task_run
from helpers.programs import RMT, TINY, TRXL, assert_one_sentence, run
from rmt import figures, train
from rmt.analysis import pictures as attention_figures
from rmt.analysis.patterns import Pattern, SegmentMaps
from rmt.paper.experiments import rows
from rmt.reproduction import task_figures, text_figures
from rmt.reproduction.scales import plan
from rmt.runs.drawing import look
from rmt.runs.logged_runs import read_runs


@pytest.fixture
def drawn(monkeypatch):
    """What would be written: the figures, which close with the test."""
    kept = []
    for module in (task_figures, text_figures, attention_figures):
        monkeypatch.setattr(module, "save_figure", lambda figure, out: kept.append(figure))
    yield kept
    plt.close("all")


def write_runs(folder: Path) -> Path:
    """Copy in 6 and 9 segments, reverse, other settings, and text."""
    for seed, accuracy in ((1, 0.9), (2, 0.7)):
        write_task_run(folder / f"rmt12-{seed}", "copy", "rmt", 12, 6, accuracy, seed=seed)
    write_task_run(folder / "rmt8", "copy", "rmt", 8, 9, 0.6)
    write_task_run(folder / "half", "copy", "rmt", 6, 6, 0.55)
    write_task_run(folder / "other", "copy", "rmt", 5, 6, 0.33)
    write_task_run(folder / "stopped", "copy", "rmt", 12, 6, 0.3, unrolls=0)
    write_task_run(folder / "baseline", "copy", "baseline", 0, 6, 0.1)
    write_task_run(folder / "short", "copy", "baseline", 0, 6, 0.44, n=12)
    write_task_run(folder / "long", "copy", "trxl", 60, 6, 0.2, n=240)
    write_task_run(folder / "unlike", "copy", "rmt", 40, 6, 0.7, n=120)
    write_task_run(folder / "unlike too", "reverse", "rmt", 40, 4, 0.7, n=120)
    write_task_run(folder / "pairs", "retrieval", "trxl", 2, 5, 0.9)
    return folder


def points(axis, label_colour: str, filled: bool) -> dict[str, float]:
    """Accuracy by the x tick it stands at, of one model's points."""
    ticks = [text.get_text() for text in axis.get_xticklabels()]
    found = {}
    for container in axis.containers:
        data = container.lines[0]
        is_filled = data.get_markerfacecolor() != "white"
        if data.get_color() != label_colour or is_filled != filled or data.get_marker() == "X":
            continue
        for x, y in zip(*data.get_data(), strict=True):
            found[ticks[round(x)]] = round(float(y), 3)
    return found


def test_figure_4_shows_our_cells_beside_the_published(tmp_path, drawn):
    task_figures.draw_paper_figure("figure4", read_runs([write_runs(tmp_path)]), Path("unused"))
    copy, reverse, retrieval = drawn[0].axes
    assert copy.get_title() == "copy, n 24\n5 runs of ours"
    assert reverse.get_title() == "reverse, n 24\nnot run here"
    assert retrieval.get_title() == "retrieval, 4 pairs\n1 run of ours"
    assert points(copy, look("rmt")[0], filled=True) == {"6": 0.8, "9": 0.6}
    assert points(copy, look("rmt")[0], filled=False) == {"3": 1.0, "6": 1.0, "9": 1.0}
    assert points(copy, look("trxl")[0], filled=True) == {}
    assert points(copy, look("trxl")[0], filled=False) == {"3": 1.0, "6": 0.967, "9": 0.278}
    assert points(copy, look("baseline")[0], filled=True) == {"6": 0.1}
    assert points(reverse, look("rmt")[0], filled=False) == {"2": 1.0, "4": 1.0, "6": 0.9}
    assert points(retrieval, look("trxl")[0], filled=True) == {"5": 0.9}
    assert points(retrieval, look("mt")[0], filled=False) == {"2": 0.191, "4": 0.139, "5": 0.109}
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:5] == ["baseline", "mt", "trxl", "rmt", "rmt, BPTT-0"]


def test_error_bars_are_standard_deviations_over_seeds(tmp_path, drawn):
    task_figures.draw_paper_figure("figure4", read_runs([write_runs(tmp_path)]), Path("unused"))
    bars = [
        segment
        for container in drawn[0].axes[0].containers
        if container.lines[0].get_color() == look("rmt")[0]
        for segment in container.lines[2][0].get_segments()
    ]
    low, high = 0.8 - 0.02**0.5, 0.8 + 0.02**0.5
    assert any(np.allclose(bar[:, 1], [low, high]) for bar in bars)


def test_figures_5_and_7_take_their_own_cells(tmp_path, drawn):
    runs = read_runs([write_runs(tmp_path)])
    task_figures.draw_paper_figure("figure5", runs, Path("unused"))
    task_figures.draw_paper_figure("figure7", runs, Path("unused"))
    (by_segments, by_length), (copy, reverse, long) = (figure.axes for figure in drawn)
    assert "not run here" in by_segments.get_title(), "not with that memory"
    assert "not run here" in long.get_title()
    assert "1 run of ours" in by_length.get_title()
    assert points(by_segments, look("trxl")[0], False) == {"3": 0.778, "6": 0.125, "9": 0.136}
    assert points(by_length, look("rmt")[0], False) == {"360": 1.0, "720": 0.882, "1080": 0.579}
    assert points(by_length, look("trxl")[0], filled=True) == {"720": 0.2}
    assert points(copy, look("rmt")[0], filled=True) == {"6": 0.55}
    assert points(copy, look("trxl")[0], filled=False) == {"3": 0.832, "6": 0.541}
    assert points(reverse, look("trxl")[0], filled=False) == {"2": 0.996, "4": 0.799}
    assert points(long, look("trxl")[0], filled=False) == {"2": 0.861, "4": 0.614, "6": 0.667}


def test_accuracy_is_drawn_over_time_and_samples(tmp_path, drawn):
    for seed in (1, 2):
        write_task_run(tmp_path / f"a{seed}", "copy", "rmt", 12, 6, 0.9, seed=seed)
    write_task_run(tmp_path / "b", "copy", "trxl", 12, 6, 0.6)
    task_figures.draw_accuracy(read_runs([tmp_path]), Path("unused"))
    over_time, over_samples = drawn[0].axes
    curves = [line for line in over_samples.get_lines() if line.get_marker() != "None"]
    assert [line.get_color() for line in curves] == [look(m)[0] for m in ("rmt", "rmt", "trxl")]
    np.testing.assert_allclose(curves[2].get_data(), [[2, 4, 6], [0.2, 0.4, 0.6]])
    forced = [line for line in over_time.get_lines() if line.get_linestyle() == "--"]
    np.testing.assert_allclose(forced[2].get_data(), [[1 / 3, 2 / 3, 1], [0.25, 0.45, 0.65]])
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:2] == ["rmt, memory 12 (2 runs): test 0.900", "trxl, cache 12: test 0.600"]
    assert drawn[0].get_suptitle() == "copy, n 24, 6 segments: validation samples"


def test_runs_of_several_settings_are_named_with_them(tmp_path, drawn):
    write_task_run(tmp_path / "a", "quadratic", "rmt", 30, 6, 0.9)
    write_task_run(tmp_path / "b", "reverse", "rmt", 12, 4, 0.6)
    task_figures.draw_accuracy(read_runs([tmp_path]), Path("unused"))
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:2] == [
        "quadratic, 6 segments: rmt, memory 30: test 0.900",
        "reverse, n 24, 4 segments: rmt, memory 12: test 0.600",
    ]
    line = next(x for x in drawn[0].axes[0].get_lines() if x.get_label().startswith("quadratic"))
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.6, 0.9]), "solved, not right tokens"
    assert drawn[0].axes[0].get_ylabel() == "accuracy or solve rate, free running"


def test_every_variant_of_a_model_looks_different(tmp_path, drawn):
    write_task_run(tmp_path / "a", "reverse", "rmt", 12, 4, 0.9)
    for unrolls in (0, 1):
        write_task_run(tmp_path / f"b{unrolls}", "reverse", "rmt", 12, 4, 0.5, unrolls=unrolls)
    write_task_run(tmp_path / "c", "reverse", "rmt", 12, 4, 0.4, model_options={"n_layer": 2})
    task_figures.draw_paper_figure("figure4", read_runs([tmp_path]), Path("unused"))
    legend = drawn[0].legends[0]
    names = [text.get_text() for text in legend.get_texts()]
    looks = [(line.get_color(), line.get_marker()) for line in legend.get_lines()]
    of_rmt = [i for i, name in enumerate(names) if name.startswith("rmt")]
    assert len({looks[i] for i in of_rmt}) == len(of_rmt) == 5  # the published one, and four
    assert "rmt, n_layer 2" in names


def test_runs_of_one_name_are_not_averaged(tmp_path, drawn):
    for n_layer, accuracy in ((2, 0.9), (4, 0.7)):
        options = {"n_layer": n_layer}
        write_task_run(
            tmp_path / str(n_layer), "copy", "rmt", 3, 6, accuracy, model_options=options
        )
    task_figures.draw_accuracy(read_runs([tmp_path]), Path("unused"))
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names[:2] == [
        "rmt, memory 3, n_layer 2: test 0.900",
        "rmt, memory 3, n_layer 4: test 0.700",
    ]


@pytest.mark.parametrize("n_letters", [20, 65, 66, 100])
def test_a_legend_has_its_place_in_the_figure(tmp_path, drawn, monkeypatch, n_letters):
    runs = [run_of(plan(row, "mini"), 1, 2.5) for row in rows("table3")[2:5]]
    names = iter("abc")
    monkeypatch.setattr(text_figures, "legend_name", lambda *_: n_letters * next(names))
    text_figures.draw_curves(runs, Path("unused"))
    figure = drawn[0]
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == 3
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert 0 <= legend.y0 < legend.y1 <= figure.axes[0].get_window_extent().y0


@pytest.mark.parametrize("out", ["fig.xyz", "fig", "fig.PNG.v2"])
def test_figures_are_png_files_or_refused(tmp_path, out):
    write_task_run(tmp_path / "run", memory=3)
    said = assert_one_sentence(
        run(figures.main, "figure4", tmp_path / "run", "--out", tmp_path / out)
    )
    assert "end the name" in said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["figure4", "accuracy"])
def test_figures_are_drawn_alike_twice(tmp_path, name):
    runs = write_runs(tmp_path / "runs")
    for out in ("one.png", "two.png"):
        outcome = run(figures.main, name, runs, "--out", tmp_path / out)
        assert outcome.status == 0, outcome.err
        assert outcome.out.strip() == str(tmp_path / out)
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_papers_figures_need_no_runs_and_the_others_do(tmp_path):
    assert run(figures.main, "figure5", "--out", tmp_path / "a.png").status == 0
    assert "FOLDER" in assert_one_sentence(run(figures.main, "accuracy", "--out", "a.png"))
    assert "--out" in assert_one_sentence(run(figures.main, "figure4"))
    assert "choose from" in assert_one_sentence(run(figures.main, "figure6", "--out", "a.png"))
    assert "--sample" in assert_one_sentence(
        run(figures.main, "figure4", "--out", "a", "--sample", "1")
    )


# --- attention -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of tiny runs on reverse, by model."""
    folder = tmp_path_factory.mktemp("trained")
    data = "--dataset reverse --n 4 --tgt_len 4 --train_samples 60 --valid_samples 10".split()
    data += ["--test_samples", "10", "--encoded_dir", folder / "encoded"]
    for flags in (RMT, TRXL):
        flags = [*TINY, *data, *flags, "--work_dir", folder / flags[1]]
        outcome = run(train.main, *flags)
        assert outcome.status == 0, outcome.err
    return folder


def test_attention_of_a_run_is_drawn_and_its_patterns_named(trained, tmp_path):
    out = tmp_path / "maps.png"
    with patch("rmt.analysis.patterns.is_pattern", lambda looks, _: looks.mass > 0):
        outcomes = []
        for _ in range(2):
            outcomes.append(
                run(figures.main, "attention", "--work_dir", trained / "rmt", "--out", out)
            )
            outcomes.append([p.read_bytes() for p in sorted(tmp_path.iterdir())])
    assert outcomes[0] == outcomes[2]
    assert outcomes[1] == outcomes[3], "the same pictures"
    *table, maps, large = outcomes[0].out.splitlines()
    assert (maps, large) == (str(out), str(tmp_path / "maps-patterns.png"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["maps-patterns.png", "maps.png"]
    rows = [row.strip("| ").split(" | ") for row in table[2:]]
    # Of 2 layers with 2 heads: write in the first segment, read in the second.
    assert sorted({(row[0].split(",")[0], row[1]) for row in rows}) == [
        ("read", "2"),
        ("write", "1"),
    ]
    assert len(rows) == 8


def test_without_patterns_there_is_one_picture_in_the_run_folder(trained):
    stale = trained / "trxl" / "attention-sample3-patterns.png"
    stale.write_text("of an earlier model")
    outcome = run(figures.main, "attention", "--work_dir", trained / "trxl", "--sample", "3")
    assert outcome.status == 0, outcome.err
    said, path = outcome.out.splitlines()
    assert said.startswith("no pattern found: ")
    assert path == str(trained / "trxl" / "attention-sample3.png")
    assert (trained / "trxl" / "attention-sample3.png").read_bytes().startswith(b"\x89PNG")
    assert not stale.exists()


def test_what_has_no_attention_maps_is_refused(trained, tmp_path):
    def attention(*flags):
        return assert_one_sentence(run(figures.main, "attention", *flags))

    assert "no test sample 10" in attention("--work_dir", trained / "rmt", "--sample", 10)
    assert "no test sample -1" in attention("--work_dir", trained / "rmt", "--sample", -1)
    assert "not a run folder" in attention("--work_dir", tmp_path)
    about = json.loads((trained / "rmt" / "config.json").read_text())
    of_text = {"dataset": "wt103", "bptt_unrolls": 0, "segments": 0, "curriculum": 0}
    train_on_text = about["train"] | of_text | {"recipe": "", "stop_at": 0.0}
    text = about | {"train": train_on_text, "task": {}}
    (tmp_path / "config.json").write_text(json.dumps(text))
    assert "is a run on text (wt103)" in attention("--work_dir", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert "no checkpoint" in attention("--work_dir", tmp_path)
    (tmp_path / "checkpoints").symlink_to(trained / "rmt" / "checkpoints")
    other = about | {"task": about["task"] | {"data_seed": 5}}
    (tmp_path / "config.json").write_text(json.dumps(other))
    assert "other samples" in attention("--work_dir", tmp_path)


def planted(kind: str) -> tuple[list[SegmentMaps], Pattern]:
    sizes = {"cache": 0, "read": 3, "tokens": 5, "write": 3}
    maps = SegmentMaps((np.full((2, 11, 11), 0.1),) * 2, sizes, tuple("abcde"), 5)
    return [maps, maps], Pattern(1, 1, 0, kind, 3, 0.9, -0.95)


def test_patterns_are_framed_in_their_map(drawn):
    segments, pattern = planted("write")
    attention_figures.draw_maps(segments, [pattern], "title", Path("unused"))
    maps = [axis for axis in drawn[0].axes if axis.images]
    assert len(maps) == 2 * 2 * 2
    framed = [i for i, axis in enumerate(maps) if axis.patches]
    assert framed == [6], "second segment, second layer, first head"
    frame = maps[6].patches[0]
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((2.5, 7.5), 5, 3)
    texts = [text.get_text() for text in drawn[0].texts]
    assert "write ↗" in texts
    assert "segment 2 of 2:  abcde" in texts


def test_rows_that_were_not_computed_are_left_open_from_the_top(drawn):
    sizes = {"cache": 2, "read": 0, "tokens": 3, "write": 2}
    maps = SegmentMaps((np.full((1, 2, 7), 0.5),), sizes, tuple("abc"), 0)
    attention_figures.draw_maps([maps], [], "title", Path("unused"))
    image = drawn[0].axes[0].images[0].get_array()
    assert image.shape == (5, 7)
    assert (
        np.ma.getmaskarray(np.ma.masked_invalid(image)).all(axis=1).tolist()
        == [True] * 3 + [False] * 2
    )


def test_only_the_strongest_of_a_kind_and_direction_is_drawn_large(drawn):
    segments, pattern = planted("read")
    weak, strong = (Pattern(1, 0, 0, "read", 5, mass, -0.9) for mass in (0.6, 0.8))
    straight = Pattern(1, 0, 1, "read", 5, 0.7, 0.9)
    chosen = attention_figures.strongest_of_each([weak, straight, strong, pattern])
    assert chosen == [pattern, straight]
    attention_figures.draw_patterns(segments, chosen, "title", Path("unused"))
    assert len(drawn[0].axes) == 2
    texts = [text.get_text() for text in drawn[0].texts]
    assert "segment 2, layer 2, head 1: mass 0.90, order -0.95" in texts
    assert "read, reversed" in texts
    assert [text.get_text() for text in drawn[0].axes[0].get_xticklabels()] == list("abcde")
