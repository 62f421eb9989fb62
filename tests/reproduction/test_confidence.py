"""Student's distribution, and the intervals made of it."""

import math

import numpy as np
import pytest

from rmt.reproduction.confidence import STUDENT, of_pairs, student_quantile, written


def students_probability(t: float, freedom: float) -> float:
    """Of values below t: the density, integrated numerically."""
    points, step = np.linspace(0, t, 200_001, retstep=True)
    density = (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(log_scale) / math.sqrt(freedom * math.pi)
    return 0.5 + scale * step * (density.sum() - (density[0] + density[-1]) / 2)


@pytest.mark.parametrize(("freedom", "quantile"), STUDENT.items())
def test_students_quantiles(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile)
    assert students_probability(quantile, freedom) == pytest.approx(0.975, abs=2e-5)


@pytest.mark.parametrize(
    "freedom",
    [1.05, 1.1, 1.27, 1.5, 1.6, 1.9, 2.2, 2.5, 2.9, 3.5, 4.6, 8.9, 11.0, 14.2, 25.0, 31.0, 90.0],
)
def test_students_quantiles_between_are_at_most_a_little_too_large(freedom):
    assert 0.975 - 2e-5 <= students_probability(student_quantile(freedom), freedom) < 0.976


def test_the_interval_of_pairs_is_that_of_their_mean_difference():
    differences = [-0.1, -0.1, 0.0]
    assert of_pairs(differences) == pytest.approx(4.303 * np.std(differences, ddof=1) / 3**0.5)


def test_a_single_pair_has_an_interval_without_end_of_which_nothing_is_written():
    assert of_pairs([0.5]) == math.inf
    assert written(math.inf, 3) == ""
    assert written(1234.5678, 1) == "± 1,234.6"
