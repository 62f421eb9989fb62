"""Run what tables, figures and studies need, and make them anew from the logs."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from rmt.data.text.corpora import Corpus, load_corpus
from rmt.data.text.dataset import TextOptions, data_folder
from rmt.paper.experiments import TABLES
from rmt.reproduction.expected import GPUS, UTILIZATION, hours, run_operations
from rmt.reproduction.jobs import Job, Outcome, run_jobs
from rmt.reproduction.paper_results import (
    PAPER_TABLES,
    midi_table,
    paper_table,
    plans_for,
    write_figures,
    write_tables,
)
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import FOR_GPUS, WITHOUT_DATA
from rmt.reproduction.studies.registry import STUDIES, study_table
from rmt.runs.logged_runs import LoggedRun, finished_run, finished_runs
from rmt.runs.reports import markdown
from rmt.runs.run_folder import saved_checkpoints
from rmt.runs.settings import text_options
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root, write_text
from rmt.runtime.machine import n_cores

# Operations per second of a core in training models as small as those of mini scale, by the logs of
# such runs on a CPU that has bf16.
PER_CORE = 7e10


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

    def job(self, order: "Order", after: Job | None = None) -> Job:
        """after: the job of its source, where that is still to be done."""
        options = {**self.plan.options, "seed": self.seed}
        options |= {"data": order.data} if order.data and not self.plan.is_task else {}
        if source := self.source:
            options |= {"init_from": str(source.folder)}
        if order.n_gpus:
            options |= {"cuda": True}
            options |= {"cuda_graph": order.cuda_graph} if order.cuda_graph != "auto" else {}
        max_step = self.plan.settings.train.max_step
        return Job(self.folder, options, max_step, cost(self.plan), after)


def cost(plan: Plan) -> float:
    """Of a run, in operations."""
    return run_operations(plan.model, plan.settings.train)


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
    cuda_graph: str = "auto"

    @property
    def n_jobs(self) -> int:
        """Runs at a time: as many as asked for, else one on each GPU.

        Without a GPU one on each core at mini scale, for small models gain little by a second
        thread, and one at others, which need the memory.

        A captured step (--cuda_graph) leaves its GPU few gaps for a second run to fill. Eager steps
        of small models leave it idle most of the time, so that several can share one: ask for them
        with --jobs, which must fit its memory together. Nobody has measured which is faster.
        """
        return self.jobs or self.n_gpus or (n_cores() if self.scale == "mini" else 1)


def reproduce(order: Order) -> int:
    """Run what is left to do, and make tables and figures anew; returns the exit status."""
    with_data = order.scale != "mini" or bool(order.data)
    for target in order.targets:
        if not plans_for([target], order.scale, with_data):
            raise UsageError(f"{target} needs a text: name it with --data")
    plans = choose(plans_for(order.targets, order.scale, with_data), order.rows)
    if order.scale == "midi" and not order.data:
        order = replace(order, data=small_text(plans[0]))
    texts = find_texts(plans, order.data)

    first, n_shares = order.share
    folder = order.results / "runs"
    longest_first = sorted(plans, key=cost, reverse=True)  # else a long one may be left to the end
    planned = [
        Planned(plan, seed, folder / plan.folder_name(seed), texts.get(_reading(plan)))
        for seed in range(1, order.seeds + 1)
        for plan in longest_first
    ][first - 1 :: n_shares]
    runs = finished_runs(folder)
    left = with_sources([each for each in planned if not any(map(each.counts, runs))])
    for each in left:
        each.refuse_others()
    jobs = to_jobs(left, order)
    n_there = sum(each not in left for each in planned)
    print(f"{n_there} of {len(planned)} runs are there, {len(left)} left to do")
    if jobs and order.scale in FOR_GPUS and not order.n_gpus:
        print(without_gpu(order.scale, list(jobs), order.n_jobs))
    if order.dry_run:
        for plan in plans:
            n_left = sum(each.plan is plan for each in left)
            print(f"  {plan.name}: {n_left} left" if n_left else f"  {plan.name}: done")
        print(dry_run(left, list(jobs), order.n_jobs), end="")
        return 0
    outcome = Outcome()
    if jobs:
        require_texts(plans, order.data)
        outcome = run_jobs(
            list(jobs), order.n_jobs, lambda job: jobs[job].is_finished(), order.n_gpus
        )
    try:
        if n_shares == 1:  # else others may be writing them, too
            show(order, with_data)
    finally:
        status = report(outcome, list(jobs))
    return status


def with_sources(left: Sequence[Planned]) -> list[Planned]:
    """The runs that are left to do, each after the one with whose weights it begins.

    Weights are not among the files of a run that are kept for tables, so that one may be done and
    yet be of no use to begin with. Raises UsageError where its folder stands in the way.
    """
    ordered: dict[Path, Planned] = {}
    for each in left:
        source = each.source
        if source and not (source.is_finished() and saved_checkpoints(source.folder)):
            if source.is_finished():
                raise UsageError(
                    f"{source.folder}, with which {each.folder.name} begins, has no weights any "
                    "more: move it away, and it is trained again"
                )
            ordered.setdefault(source.folder, source)
        ordered.setdefault(each.folder, each)
    return list(ordered.values())


def to_jobs(left: Sequence[Planned], order: Order) -> dict[Job, Planned]:
    """What is left to do, in its order, in which sources come first."""
    jobs: dict[Job, Planned] = {}
    by_folder: dict[Path, Job] = {}
    for each in left:
        source = each.source
        job = each.job(order, by_folder.get(source.folder) if source else None)
        jobs[job] = each
        by_folder[each.folder] = job
    return jobs


def choose(plans: Sequence[Plan], patterns: Sequence[str]) -> list[Plan]:
    """Those whose names fit a pattern. Raises UsageError for patterns that fit none."""
    for pattern in patterns:
        if not any(fnmatch(plan.name, pattern) for plan in plans):
            names = ", ".join(plan.name for plan in plans)
            raise UsageError(f"no row is named {pattern}; there are {names}")
    return [p for p in plans if not patterns or any(fnmatch(p.name, each) for each in patterns)]


# --- texts ---------------------------------------------------------------------------------------


# A text as a plan reads it: the dataset, and its options.
Reading = tuple[str, TextOptions]


def _reading(plan: Plan) -> Reading:
    return plan.dataset, text_options(plan.settings.train)


def find_texts(plans: Sequence[Plan], data: str) -> dict[Reading, str]:
    """Fingerprints of the plans' texts, of those that are there.

    Raises UsageError where one place is to serve two datasets.
    """
    datasets = sorted({plan.dataset for plan in plans if not plan.is_task})
    if data and len(datasets) > 1:
        raise UsageError(f"--data can't be {' and '.join(datasets)}: name targets of one of them")
    found = {}
    for plan in plans:
        if not plan.is_task and _reading(plan) not in found:
            try:
                found[_reading(plan)] = _text(plan, data).fingerprint
            except UsageError:
                if data:
                    raise
    return found


def small_text(plan: Plan) -> str:
    """Where the small version of a plan's text is, as make_mini_data.sh puts it."""
    return str(data_folder() / plan.settings.dataset.mini.folder)


def require_texts(plans: Sequence[Plan], data: str) -> None:
    """Raise UsageError, which says how to get it, where a text is missing or not the plans'."""
    for plan in {_reading(plan): plan for plan in plans if not plan.is_task}.values():
        n_token = len(_text(plan, data).vocabulary)
        if plan.n_token not in (None, n_token):
            raise UsageError(
                f"the text of {plan.dataset} has {n_token:,} different tokens, but the paper's has "
                f"{plan.n_token:,}: get it with getdata.sh, or choose --scale mini"
            )


def _text(plan: Plan, data: str) -> Corpus:
    settings = plan.settings
    encoded_dir = settings.train.encoded_dir or None
    return load_corpus(
        settings.dataset, data or None, text_options(settings.train), encoded_dir=encoded_dir
    )


# --- what is said --------------------------------------------------------------------------------


def dry_run(left: Sequence[Planned], jobs: Sequence[Job], n_parallel: int) -> str:
    """The commands, and how long they would take at most."""
    lines = [f"python -m rmt.train {shlex.join(job.command)}\n" for job in jobs]
    lines = [line.replace(f"{project_root()}/", "") for line in lines]
    n_uncounted = sum(not job.cost for job in jobs)
    precisions = [each.plan.settings.train.precision for each in left]
    costs = list(zip(jobs, precisions, strict=True))
    flops = sum(job.cost for job in jobs)
    times = [(f"one {gpu}", sum(hours(job.cost, gpu, p) for job, p in costs)) for gpu in GPUS]
    times.append(on_cores(jobs, n_parallel))
    rows = [[where, f"{time:,.1f}"] for where, time in times]
    shares = " and ".join(f"{share:.0%} of its {name} peak" for name, share in UTILIZATION.items())
    about = (
        f"\n{flops:.3g} operations. Estimated, without evaluations, for a GPU at {shares}, for a "
        f"core at {PER_CORE / 1e9:.0f} GFLOP/s. Models as small as those of mini scale and of the "
        "tasks will not reach that on a GPU; tasks end when they are solved.\n\n"
    )
    if n_uncounted:
        about += (
            f"Without {n_uncounted} of the {len(jobs)} runs: the operations of memory around a "
            "pretrained model are not counted.\n\n"
        )
    return "".join(lines) + about + markdown(["on", "hours"], rows)


def on_cores(jobs: Sequence[Job], n_parallel: int) -> tuple[str, float]:
    """The cores that so many jobs at a time use, and their hours."""
    n = min(n_cores(), n_parallel)
    flops = sum(job.cost for job in jobs)
    return f"{n} CPU core{'s' if n > 1 else ''}", flops / n / PER_CORE / 3600


def without_gpu(scale: str, jobs: Sequence[Job], n_parallel: int) -> str:
    """What a scale for GPUs needs, and what it takes here."""
    cores, time = on_cores(jobs, n_parallel)
    return (
        f"--scale {scale} is meant for a GPU, and PyTorch sees none here: on {cores} this takes "
        f"about {time:,.0f} hours; --scale mini is for CPUs"
    )


def show(order: Order, with_data: bool) -> None:
    """Write all tables and figures, and print the tables asked for.

    Without data these are of other runs than the tables that are kept, and have names of their own.
    """
    targets, results = order.targets, order.results
    runs = finished_runs(results / "runs")
    write_tables(runs, results)
    for path in write_figures(runs, results):
        if path.stem in targets:
            print(f"drawn: {path}")
    for name in targets:
        if order.scale == "midi":
            print(f"\n{name}\n\n{midi_table(name, runs, results / 'tables')}")
        elif name in PAPER_TABLES:
            table = paper_table(name, runs, results / "tables", with_data)
            if not with_data and name in TABLES:
                write_text(results / "tables" / f"{name}-{WITHOUT_DATA}.md", table)
            print(f"\n{name}\n\n{table}")
        if name in STUDIES:
            print(f"\n{name}\n\n{study_table(name, runs, with_data)}")


def report(outcome: Outcome, jobs: Sequence[Job]) -> int:
    """Say what failed and what is left; returns the exit status."""
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}")
    n_left = len(jobs) - len(outcome.finished) - len(outcome.failed)
    if n_left:
        print(f"interrupted: {n_left} runs are left, and the same command goes on with them")
        return 128 + outcome.signal
    return int(bool(outcome.failed))
