"""What is asked of the runner, and the runs that it means: which are there, and which are left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rmt.reproduction.expected import run_operations
from rmt.reproduction.jobs import Job
from rmt.reproduction.plans import Plan
from rmt.runs.logged_runs import LoggedRun, finished_run
from rmt.runs.run_folder import saved_checkpoints
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root
from rmt.runtime.machine import n_cores


@dataclass(frozen=True)
class Order:
    """What is asked of the runner.

    rows: patterns of plans' names; empty for all. share: (i, n), to do the i-th of n shares.
    results: the folder of runs and tables. n_gpus: those that jobs take turns on; 0 for the CPU.
    jobs: how many at a time; None for n_jobs to choose. cuda_graph: as rmt.train's, on GPUs.
    """

    targets: Sequence[str]
    scale: str
    data: str = ""
    rows: Sequence[str] = ()
    seeds: int = 3
    jobs: int | None = None
    share: tuple[int, int] = (1, 1)
    results: Path = field(default_factory=lambda: project_root() / "results")
    dry_run: bool = False
    n_gpus: int = 0
    cuda_graph: str = "off"

    @property
    def n_jobs(self) -> int:
        """Runs at a time: as many as asked for, else one on each GPU.

        Without a GPU one on each core at mini scale, for small models gain little by a second
        thread, and one at others, which need the memory.

        Steps of small models leave a GPU idle most of the time, so that several runs can share one:
        ask for them with --jobs, which must fit its memory together. Captured steps (--cuda_graph)
        leave no gaps: on an H100 four at a time took four times as long as one (docs/gpu.md).
        """
        return self.jobs or self.n_gpus or (n_cores() if self.scale == "mini" else 1)


@dataclass(frozen=True)
class Planned:
    """A plan with a seed: where its run is kept, and the fingerprint of the text it is of."""

    plan: Plan
    seed: int
    folder: Path
    text: str | None

    def counts(self, run: LoggedRun) -> bool:
        """Whether a finished run is this one."""
        same_text = self.text is None or run.result["corpus"] == self.text
        return run.seed == self.seed and self.plan.fits(run) and same_text

    def is_finished(self) -> bool:
        try:
            run = finished_run(self.folder)
        except UsageError:  # damaged
            return False
        return run is not None and self.counts(run)

    def refuse_others(self) -> None:
        """Raise UsageError if the folder holds a run that isn't this one."""
        try:
            config = json.loads((self.folder / "config.json").read_text())
            other = self.plan.differences(config)
            if config["train"]["seed"] != self.seed:
                other = ", ".join(filter(None, [other, "seed"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.folder / 'config.json'} can't be read ({error!r})") from None
        run = finished_run(self.folder)
        if run is not None and not other and not self.counts(run):
            other = "the text"
        if other:
            raise UsageError(
                f"{self.folder} holds another run ({other} differs): move it away, or name another "
                "folder with --results"
            )

    @property
    def source(self) -> "Planned | None":
        """The run with whose weights it begins."""
        plan = self.plan.begins_with
        if plan is None:
            return None
        runs = self.folder.parents[1]
        return Planned(plan, self.seed, runs / plan.folder_name(self.seed), self.text)

    def job(self, order: Order, after: Job | None = None) -> Job:
        """after: the job of its source, where that is still to be done."""
        options = {**self.plan.options, "seed": self.seed}
        options |= {"data": order.data} if order.data and not self.plan.is_task else {}
        if source := self.source:
            options |= {"init_from": str(source.folder)}
        if order.n_gpus:
            options |= {"cuda": True}
            options |= {"cuda_graph": order.cuda_graph} if order.cuda_graph != "off" else {}
        max_step = self.plan.settings.train.max_step
        return Job(self.folder, options, max_step, cost(self.plan), after)


def cost(plan: Plan) -> float:
    """Of a run, in operations."""
    return run_operations(plan.model, plan.settings.train)


def with_sources(left: Sequence[Planned]) -> tuple[list[Planned], dict[str, str]]:
    """The runs that are left to do, each after the one with whose weights it begins.

    Weights are not among the files of a run that are kept for tables, so that one may be done and
    yet be of no use to begin with. What would begin with it is left out: by its folder's name, why.
    """
    ordered: dict[Path, Planned] = {}
    left_out: dict[str, str] = {}

    def add(each: Planned) -> None:
        source = each.source
        if source and not source.is_finished():
            add(source)
            if source.folder.name in left_out:
                reason = f"it begins with {source.folder.name}, which is left out"
                left_out[each.folder.name] = reason
                return
        elif source and not saved_checkpoints(source.folder):
            left_out[each.folder.name] = (
                f"{source.folder}, with which {each.folder.name} begins, has no weights any more: "
                "move it away, and it is trained again"
            )
            return
        ordered.setdefault(each.folder, each)

    for each in left:
        add(each)
    return list(ordered.values()), left_out
