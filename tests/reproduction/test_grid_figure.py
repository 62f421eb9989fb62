"""The grid of Table 4 as maps."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from helpers.logged import run_of
from rmt.reproduction import grid_figure
from rmt.reproduction.studies.registry import STUDIES


def test_the_maps_have_the_papers_scores_and_our_means(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(grid_figure, "save_figure", lambda figure, out: kept.append(figure))
    (own,) = (p for p in STUDIES["grid"](True) if p.name == "wt103-50-rmt5-bptt3")
    runs = [run_of(own, seed, score) for seed, score in ((1, 200.0), (2, 210.0))]
    grid_figure.draw_grid(runs, tmp_path / "grid.png")
    published, ours = (np.ma.filled(axis.images[0].get_array(), np.nan) for axis in kept[0].axes)
    # Memory of 1 and 25, gradient through 0 and 3; the paper has no RMT 25 with BPTT-3.
    assert (published[0, 0], published[0, 3], published[3, 0]) == (31.33, 28.40, 29.75)
    assert np.isnan(published[3, 3])
    assert ours[1, 3] == pytest.approx(205.0)
    assert np.isnan(ours).sum() == 15
    assert [text.get_text() for text in kept[0].axes[1].texts] == ["205.00\n± 7.07"]
    plt.close("all")
