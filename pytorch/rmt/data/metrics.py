"""What scores are called: perplexity, bits per character, accuracy and F1."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token; inf where that overflows, nan of one that is none."""
    return math.inf if loss >= 700 else math.exp(loss)


def bits_per_character(loss: float) -> float:
    return loss / math.log(2)


@dataclass(frozen=True)
class Metric:
    """A score that runs are compared by.

    key: its name in result.json. name: in tables and log lines. digits: decimals in tables.
    from_loss: what it is of a loss in nats per token; None for one that is counted otherwise.
    grows_fast: whether a picture of it wants a logarithmic axis.
    """

    key: str
    name: str
    digits: int
    from_loss: Callable[[float], float] | None = None
    lower_is_better: bool = True
    log_digits: int = 5
    grows_fast: bool = False

    def of_loss(self, loss: float) -> float:
        return self.from_loss(loss)

    def readable(self, loss: float) -> str:
        """A loss with the score, for log lines."""
        return f"loss {loss:5.2f} | {self.name} {self.of_loss(loss):9.{self.log_digits}f}"


PERPLEXITY = Metric("test_ppl", "ppl", 2, perplexity, log_digits=3, grows_fast=True)
BITS_PER_CHARACTER = Metric("test_bpc", "bpc", 3, bits_per_character)
ACCURACY = Metric("test_acc", "accuracy", 3, lower_is_better=False)
F1 = Metric("test_f1", "F1", 3, lower_is_better=False)
# A run that has several is compared by the first.
METRICS = (PERPLEXITY, BITS_PER_CHARACTER, F1, ACCURACY)


def metric_of(result: Mapping) -> Metric:
    """The metric of a result.json. Raises KeyError where it has none."""
    for metric in METRICS:
        if metric.key in result:
            return metric
    raise KeyError("a score: " + ", ".join(metric.key for metric in METRICS))
