"""How fast cards have trained the paper's models, by the reports of rmt.bench in results/bench."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rmt.models import registry as models
from rmt.models.options import ModelOptions
from rmt.options.training import EAGER, TrainConfig
from rmt.paper.experiments import MODEL_SIZES
from rmt.reproduction.plans import Plan
from rmt.runtime.errors import UsageError
from rmt.training.cost import segments_per_step, step_operations

# A step that is smaller or larger than a plan's by more than this factor says little of its rate.
ABOUT_AS_LARGE = 2


@dataclass(frozen=True)
class Measured:
    """Training steps that were timed on a GPU.

    gpu: as its driver names it. report: the file. form: how steps ran, EAGER unless asked for.
    rate: counted operations of a step, in layers and softmax, per second.
    """

    gpu: str
    report: Path
    model: ModelOptions
    train: TrainConfig
    form: str
    rate: float

    def is_like(self, plan: Plan, precision: str) -> bool:
        """Whether a plan's model, gradient schedule and precision are these, and its steps about as
        large."""
        train = plan.settings.train
        sizes = MODEL_SIZES[plan.dataset]
        return (
            (self.train.dataset, self.train.bptt_mode) == (plan.dataset, train.bptt_mode)
            and self.train.precision == precision
            and all(getattr(self.model, name, None) == size for name, size in sizes.items())
            and abs(self._times_as_large(train)) <= math.log(ABOUT_AS_LARGE)
        )

    def distance(self, plan: Plan) -> tuple:
        """How much else differs from a plan, to be compared: what counts most stands first."""
        train = plan.settings.train
        return (
            self.form != EAGER,
            abs(self.train.bptt_unrolls - train.bptt_unrolls),
            self.model.model != plan.model.model,
            abs(self._times_as_large(train)),
        )

    def _times_as_large(self, train: TrainConfig) -> float:
        """The logarithm of how many times the tokens predicted in a step are those of another."""
        return math.log(_tokens_per_step(self.train) / _tokens_per_step(train))


def closest(measured: Sequence[Measured], gpu: str, plan: Plan, precision: str) -> Measured | None:
    """What was measured on a GPU, or one of several ("H100, H200"), that is most like a plan.

    One whose steps ran as they do unless asked for, then with the closest gradient depth; None
    where nothing is like it.
    """
    alike = [
        each
        for each in measured
        if any(name in each.gpu for name in gpu.split(", ")) and each.is_like(plan, precision)
    ]
    return min(alike, key=lambda each: each.distance(plan), default=None)


def read_measured(folder: Path) -> list[Measured]:
    """All steps timed on GPUs, of all reports in a folder, in the order of the files' names.

    Raises UsageError where one can't be read.
    """
    measured = []
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text())
            if "gpu" in report["machine"]:
                timed = [found for found in report["results"] if "seconds_per_step" in found]
                measured += [_read(path, report["machine"]["gpu"], found) for found in timed]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} can't be read as a report of rmt.bench ({error!r})") from None
    return measured


def _read(path: Path, gpu: str, found: Mapping) -> Measured:
    model = models.options_of({**found["model"], "n_token": found["n_token"]})
    train = TrainConfig.from_record(found["train"])
    rate = (step_operations(model, train) or 0.0) / found["seconds_per_step"]
    return Measured(gpu, path, model, train, found.get("step_form", EAGER), rate)


def _tokens_per_step(train: TrainConfig) -> int:
    n_predicted, _ = segments_per_step(train)
    return train.batch_size * train.tgt_len * n_predicted
