"""What is measured: the paper's models and segments, in batches that fit a desktop computer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rmt.models import registry as models
from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig
from rmt.paper.experiments import MODEL_SIZES, TASK_SIZES
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError

NAMED = {
    "wt103": MODEL_SIZES["wt103"] | {"tgt_len": 50, "batch_size": 8, "mem_len": 10},
    "enwik8": MODEL_SIZES["enwik8"] | {"tgt_len": 128, "batch_size": 8, "mem_len": 10},
    "copy": TASK_SIZES["copy"]
    | {"n": 24, "segments": 6, "batch_size": 32, "mem_len": 12, "bptt_unrolls": -1},
}
COMMON = {"dropout": 0.1, "seed": 1}


@dataclass(frozen=True)
class Case:
    """What is measured, of how many steps, and against what.

    against: "plain", the plain model in fp32; "replay", the same with bptt_mode replay; or None.
    """

    name: str
    settings: Settings
    model: ModelOptions
    steps: int = 10
    against: str | None = None

    @property
    def train(self) -> TrainConfig:
        return self.settings.train


@dataclass(frozen=True)
class Grid:
    """Which models, gradient depths and precisions are measured, in all combinations."""

    models: Sequence[str]
    bptt: Sequence[int]
    precisions: Sequence[str]
    steps: int = 10
    against: str | None = None


def cases(names: Sequence[str], grid: Grid, options: Mapping[str, object]) -> Iterator[Case]:
    """Every case once; models that pass no gradient between segments have no depths.

    options: of rmt.train, which override the named sizes. Raises UsageError for those that no case
    can have.
    """
    for name in names:
        sizes = COMMON | {"dataset": name} | NAMED[name]
        for model in grid.models:
            own = {k: v for k, v in sizes.items() if k != "mem_len" or models.find(model).takes(k)}
            own |= {"model": model, **options}
            for depth, precision in product(_depths(own, grid.bptt), grid.precisions):
                chosen = {**own, "bptt_unrolls": depth, "precision": precision}
                yield case(name, chosen, grid.steps, grid.against)


def case(
    name: str, options: Mapping[str, object], steps: int = 10, against: str | None = None
) -> Case:
    """One case of options of rmt.train."""
    settings = Settings.of(options)
    if against == "replay" and settings.train.bptt_mode != "window":
        raise UsageError("--against replay compares --bptt_mode window with it: say both")
    n_token = len(settings.dataset.make(settings.task).symbols) if settings.task else 1
    return Case(name, settings, settings.model(n_token), steps, against)


def _depths(options: Mapping[str, object], asked: Sequence[int]) -> Sequence[int]:
    """A task's gradient flows through whole samples, in any model."""
    if "bptt_unrolls" in options:
        return [options["bptt_unrolls"]]
    settings = Settings.of({**options, "bptt_unrolls": 0})
    carried = settings.model(1).carried
    return asked if carried is None or carried.gradient else [0]
