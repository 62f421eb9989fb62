"""Plans: what to train for a row of a table, a point of a figure or a study, as options.

How an experiment becomes a plan is said by its scale (scales.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from rmt.models.options import ModelOptions
from rmt.options.option import from_json
from rmt.runs.logged_runs import LoggedRun, begun_with
from rmt.runs.settings import Settings

ROUGHLY = {"n_token": 200}


@dataclass(frozen=True)
class Plan:
    """What to train: options of rmt.train but the seed and where it is kept.

    begins_with: the plan whose run of the same seed gives it its first weights (--init_from); None:
        they are random.
    scale: one of scales.SCALES. name: of its run folders, before the seed; experiments with the
    same settings share one.
    n_token: the vocabulary that the text must have, in words; None where any will do.
    vocabulary: n_token and cutoffs for estimates of time.
    """

    scale: str
    name: str
    options: Mapping[str, object]
    n_token: int | None = None
    vocabulary: Mapping[str, object] = field(default_factory=lambda: ROUGHLY)
    begins_with: "Plan | None" = None

    @cached_property
    def settings(self) -> Settings:
        """The options, completed as rmt.train completes them."""
        return Settings.of(self.options)

    @cached_property
    def model(self) -> ModelOptions:
        """With the vocabulary as it is assumed to be."""
        vocabulary = dict(self.vocabulary)
        return self.settings.model(vocabulary.pop("n_token"), **vocabulary)

    def folder_name(self, seed: int) -> str:
        """Where in results/runs its run is kept."""
        return f"{self.place}-seed{seed}"

    @property
    def place(self) -> str:
        """Where in results/runs its runs are kept, before the seed."""
        return f"{self.scale}-{self.dataset}/{self.name}"

    @property
    def dataset(self) -> str:
        return self.settings.dataset.name

    @property
    def is_task(self) -> bool:
        return self.settings.dataset.is_task

    @cached_property
    def compared(self) -> dict:
        """All that a run's scores depend on, but the seed and the data."""
        beginning = self.begins_with.place if self.begins_with else ""
        return self.settings.scores_depend_on(self.model) | {"init_from": beginning}

    @cached_property
    def defaults(self) -> dict:
        """Of what is compared."""
        return {name: self.settings.default_of(name) for name in self.compared}

    def differences(self, config: Mapping) -> str:
        """Which settings of a run's config.json are others; empty if none.

        Options that are newer than the file had their defaults. Settings that were changed while
        the run was going on (by --restart with other options) count as others.
        """
        logged = {**config["model"], **config["train"], **config.get("task", {})}
        logged["init_from"] = begun_with(config["train"])
        names = [
            name
            for name, value in self.compared.items()
            if from_json(logged.get(name, self.defaults[name])) != value
        ]
        return ", ".join(dict.fromkeys([*names, *config.get("changed", [])]))

    def fits(self, run: LoggedRun) -> bool:
        """Whether a run is one of this plan."""
        if (run.dataset, run.model.model) != (self.dataset, self.model.model):
            return False  # as most runs, and quickly told
        if self.n_token not in (None, run.result.get("n_token")):
            return False
        if not self.is_task:
            usual = self.settings.dataset.usual_cutoffs(run.model.n_token)
            usual = usual if self.settings.train.adaptive else ()
            if getattr(run.model, "cutoffs", ()) != usual:
                return False
        parts = {"model": asdict(run.model), "train": run.train, "task": run.task}
        return not self.differences(parts | {"changed": run.changed})


def fitting_runs(own: Plan, runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """Those of the runs that are the plan's, one of each seed, in the order of their seeds."""
    by_seed = {run.seed: run for run in reversed(runs) if own.fits(run)}
    return [by_seed[seed] for seed in sorted(by_seed)]
