"""The claims as a forest plot: what is drawn is what the ledger says."""

import pytest
from matplotlib import pyplot as plt

from helpers.logged import run_of
from rmt.paper.claims import Claim, Comparison
from rmt.paper.experiments import rows
from rmt.reproduction import claims_figure, ledger
from rmt.reproduction.scales import plan

ONE, OTHER = (r for r in rows("table4") if (r.model, r.memory) == ("trxl", 25))


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """What draws effects of two experiments, as their axes and the ledger's effects."""
    kept = []
    monkeypatch.setattr(claims_figure, "save_figure", lambda figure, out: kept.append(figure))

    def draw(*expected: str, scores: tuple[list[float], list[float]], claim: str = "claim"):
        comparisons = [
            Comparison(f"compared {own}", [(1, ONE), (-1, OTHER)], own) for own in expected
        ]
        runs = [
            run_of(plan(row, "mini"), seed, score)
            for row, own in zip((ONE, OTHER), scores, strict=True)
            for seed, score in enumerate(own, start=1)
        ]
        found = [ledger.effect(own, runs) for own in comparisons]
        claims_figure.draw_claims([(Claim(claim, "", comparisons), found)], tmp_path / "claims.png")
        (axis,) = kept[-1].axes
        return axis, found

    yield draw
    plt.close("all")


def test_effects_intervals_and_the_papers(drawn):
    axis, (found, _) = drawn("lower", "higher", scores=([9.0, 10.0], [12.0, 12.5]))
    bars = [bar.lines for bar in axis.containers]
    assert [line.get_xydata().tolist() for line, *_ in bars] == [[[found.mean, y]] for y in (0, 1)]
    (segment,) = bars[0][2][0].get_segments()
    low, high = found.mean - found.half_width, found.mean + found.half_width
    assert segment.tolist() == [[pytest.approx(low), 0], [pytest.approx(high), 0]]
    papers = [
        line
        for line in axis.get_lines()
        if line.get_marker() == "|" and line.get_color() == "black"
    ]
    assert [line.get_xydata().tolist() for line in papers] == [
        [[pytest.approx(ONE.score - OTHER.score), y]] for y in (0, 1)
    ]
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["1. compared lower", "1. compared higher"]


def test_colours_say_what_the_ledger_says(drawn):
    scores = ([9.0, 9.01], [10.0, 10.01])
    axis, found = drawn("lower", "higher", scores=scores)
    assert [own.verdict for own in found] == ["yes", "no"]
    colours = [bar.lines[0].get_color() for bar in axis.containers]
    assert colours == [claims_figure.LOOKS[said][0] for said in ("holds", "does not hold")]
    axis, (found,) = drawn("lower", scores=([9.0, 11.0], [10.0, 10.01]))
    assert found.verdict == "unclear"
    assert axis.containers[0].lines[0].get_color() == claims_figure.LOOKS["unclear"][0]


@pytest.mark.parametrize(
    ("expected", "begin", "end"),
    [("lower", None, 0), ("higher", 0, None), ("same", -0.2, 0.2), ("not higher", None, 0.2)],
)
def test_green_is_where_it_would_hold(drawn, expected, begin, end):
    """2 % of 10.0 is the margin; where there is no end, the axis ends it."""
    axis, _ = drawn(expected, scores=([8.0, 12.0], [10.0, 10.0]))
    low, high = axis.get_xlim()
    (green,) = (
        part for part in axis.collections if hasattr(part, "get_paths") and part.get_alpha()
    )
    xs = green.get_paths()[0].vertices[:, 0]
    assert xs.min() == pytest.approx(low if begin is None else begin)
    assert xs.max() == pytest.approx(high if end is None else end)


def test_a_single_seed_has_no_interval(drawn):
    axis, (found,) = drawn("lower", scores=([9.0], [10.0, 10.5]))
    (segment,) = axis.containers[0].lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [found.mean, found.mean]


def test_what_has_not_run_is_left_out(drawn):
    axis, _ = drawn("lower", scores=([9.0], []))
    assert not axis.containers
