"""The digest of a figure: of what is drawn, not of how matplotlib draws it."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from rmt.models.registry import entries
from rmt.runs.drawing import FREE_COLOURS, FREE_MARKERS, digest, save_figure


def figure(**changes):
    """Two panels with one of everything that our figures have."""
    numbers = {"y": 2.0, "bar": 0.5, "dot": 3.0, "pixel": 1.0}
    texts = {"name": "ours", "tick": "50", "title": "scores", "above": "all", "note": "here"}
    what = {"colour": "#112233", "marker": "o"} | numbers | texts | changes
    made, (left, right) = plt.subplots(1, 2)
    style = {"color": what["colour"], "marker": what["marker"], "label": what["name"]}
    left.errorbar([1, 2], [1, what["y"]], [0.1, what["bar"]], **style)
    left.scatter([1, 2], [2, what["dot"]])
    left.set_xticks([1, 2], ["25", what["tick"]])
    left.set(title=what["title"], ylabel="bpc")
    left.legend()
    right.imshow(np.array([[0.0, what["pixel"]]]))
    right.text(0, 0, what["note"])
    made.legend(*left.get_legend_handles_labels())
    made.suptitle(what["above"])
    return made


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize(
    "change",
    [
        {"y": 2.001},
        {"bar": 0.51},
        {"dot": 3.1},
        {"pixel": np.nan},
        {"colour": "#112234"},
        {"marker": "s"},
        {"name": "theirs"},
        {"tick": "51"},
        {"title": "losses"},
        {"above": "some"},
        {"note": "there"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_is_drawn_counts(change):
    assert digest(figure(**change)) != digest(figure())


def test_pixels_do_not_count(tmp_path):
    """Other fonts and sizes, as another version of matplotlib may have them."""
    save_figure(figure(), tmp_path / "one.png")
    with plt.rc_context({"font.size": 15, "lines.linewidth": 3, "figure.figsize": (9, 3)}):
        save_figure(figure(), tmp_path / "two.png")
    one, two = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert one.size != two.size
    assert one.text == two.text == {"Description": f"drawn: {digest(figure())}"}


def test_the_seventh_digit_does_not_count():
    assert digest(figure(y=2.0 + 1e-9)) == digest(figure())


def test_what_is_free_is_no_models_own():
    """Else two lines of a figure would look alike."""
    own = entries().values()
    for free, taken in (
        (FREE_COLOURS, {entry.colour for entry in own}),
        (FREE_MARKERS, {entry.marker for entry in own}),
    ):
        assert len(set(free)) == len(free)
        assert not taken & set(free)
