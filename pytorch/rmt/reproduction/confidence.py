"""95 % confidence intervals of differences, by Student's distribution."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

# Scores of several experiments, each with its weight in a sum.
Groups = Sequence[tuple[float, Sequence[float]]]
# 97.5 % quantiles of Student's t by degrees of freedom, from any statistical table; between 1 and 2
# by integrating its density.
STUDENT = {
    1: 12.706,
    1.2: 8.649,
    1.35: 7.048,
    1.5: 6.017,
    1.75: 4.949,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    12: 2.179,
    16: 2.120,
    20: 2.086,
    30: 2.042,
    60: 2.0003,
    120: 1.9799,
}


def sum_of_means(groups: Groups) -> tuple[float, float]:
    """The weighted sum of the groups' means, and half the width of its interval."""
    mean = sum(weight * statistics.mean(found) for weight, found in groups)
    return mean, welch(groups)


def welch(groups: Groups) -> float:
    """Half the width of the interval of a weighted sum of means.

    Welch's, with Satterthwaite's degrees of freedom, for every group has a spread of its own.
    Infinite where a group has a single number.
    """
    if any(len(scores) == 1 for _, scores in groups):
        return math.inf
    errors = [weight**2 * statistics.variance(found) / len(found) for weight, found in groups]
    if not sum(errors):
        return 0.0
    by_freedom = [
        error**2 / (len(found) - 1) for error, (_, found) in zip(errors, groups, strict=True)
    ]
    return student_quantile(sum(errors) ** 2 / sum(by_freedom)) * math.sqrt(sum(errors))


def of_pairs(differences: Sequence[float]) -> float:
    """Half the width of the interval of their mean; infinite for a single one."""
    if len(differences) == 1:
        return math.inf
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return student_quantile(len(differences) - 1) * error


def student_quantile(freedom: float) -> float:
    """Student's 97.5 % quantile for any degrees of freedom from 1 on, at most a little too large.

    Between the entries of the table on a straight line over 1 / freedom, where the curve is convex.
    """
    by_inverse = sorted((1 / n, quantile) for n, quantile in STUDENT.items())
    return float(np.interp(1 / freedom, *zip(*by_inverse, strict=True)))


def with_interval(effect: float, half_width: float, digits: int) -> str:
    """An effect with its sign, and its interval where it has one."""
    return f"{effect:+.{digits}f} {written(half_width, digits)}".rstrip()


def written(half_width: float, digits: int) -> str:
    """Behind a ±; empty where it is infinite."""
    return "" if math.isinf(half_width) else f"± {half_width:,.{digits}f}"
