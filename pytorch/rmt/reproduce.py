"""Run what a table or figure of the paper, or a study of ours, needs:
python -m rmt.reproduce table3 --scale mini

Runs that are done, anywhere in results/runs, are not repeated, interrupted ones go on, and one that
fails doesn't stop the others. A run counts only if its configuration and its text are the row's.
At the end the tables and figures are made again from all logs, but not after a --share: when all
shares are done, `python -m rmt.tables paper` and `python -m rmt.figures paper` make them.
"""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import torch

from rmt.data.text.corpora import Corpus
from rmt.expected import GPUS, UTILIZATION, hours, run_flops
from rmt.options.command_line import Parser
from rmt.paper.experiments import TABLES
from rmt.reproduction.jobs import Job, Outcome, run_jobs
from rmt.reproduction.paper_results import (
    PAPER_TABLES,
    TARGETS,
    paper_table,
    plans_for,
    write_figures,
    write_tables,
)
from rmt.reproduction.scales import SCALES, WITHOUT_DATA, Plan
from rmt.reproduction.studies import STUDIES, study_table
from rmt.runs.logged_runs import LoggedRun, finished_run, finished_runs
from rmt.runs.markdown import markdown
from rmt.runs.run_folder import write_text
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root
from rmt.runtime.machine import n_cores
from rmt.training.workloads import load_text

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

    def job(self, data: str, use_gpu: bool) -> Job:
        config, _ = self.plan.configurations
        argv = self.plan.argv(self.seed)
        argv += ["--data", data] if data and not config.is_task else []
        argv += ["--cuda"] if use_gpu else []
        return Job(self.folder, tuple(argv), config.max_step, cost(self.plan))


def cost(plan: Plan) -> float:
    """Of a run, in operations."""
    config, _ = plan.configurations
    return run_flops(plan.model, config)


def main(argv: list[str]) -> int:
    options = parse(argv)
    targets, scale, data = options["targets"], options["scale"], options["data"]
    with_data = scale == "paper" or bool(data)
    plans = choose(plans_for(targets, scale, with_data), options["rows"])
    texts = find_texts(plans, data)

    first, n_shares = options["share"]
    folder = options["results"] / "runs"
    longest_first = sorted(plans, key=cost, reverse=True)  # else a long one may be left to the end
    planned = [
        Planned(plan, seed, folder / plan.folder_name(seed), texts.get(plan.dataset))
        for seed in range(1, options["seeds"] + 1)
        for plan in longest_first
    ][first - 1 :: n_shares]
    runs = finished_runs(folder)
    left = [each for each in planned if not any(map(each.counts, runs))]
    for each in left:
        each.refuse_others()
    use_gpu = torch.cuda.is_available() and os.environ.get("RMT_DEVICE") != "cpu"
    jobs = {each.job(data, use_gpu): each for each in left}
    print(f"{len(planned) - len(left)} of {len(planned)} runs are there, {len(left)} left to do")
    if options["dry_run"]:
        for plan in plans:
            n_left = sum(each.plan is plan for each in left)
            print(f"  {plan.name}: {n_left} left" if n_left else f"  {plan.name}: done")
        print(dry_run(left, list(jobs), options["jobs"]), end="")
        return 0
    outcome = Outcome()
    if jobs:
        require_texts(plans, data)
        n_gpus = torch.cuda.device_count() if use_gpu else 0
        is_finished = lambda job: jobs[job].is_finished()  # noqa: E731
        outcome = run_jobs(list(jobs), options["jobs"], is_finished, n_gpus)
    try:
        if n_shares == 1:  # else others may be writing them, too
            show(targets, options["results"], with_data)
    finally:
        status = report(outcome, list(jobs))
    return status


def choose(plans: Sequence[Plan], patterns: Sequence[str]) -> list[Plan]:
    """Those whose names fit a pattern. Raises UsageError for patterns that fit none."""
    for pattern in patterns:
        if not any(fnmatch(plan.name, pattern) for plan in plans):
            names = ", ".join(plan.name for plan in plans)
            raise UsageError(f"no row is named {pattern}; there are {names}")
    return [p for p in plans if not patterns or any(fnmatch(p.name, each) for each in patterns)]


# --- texts ---------------------------------------------------------------------------------------


def find_texts(plans: Sequence[Plan], data: str) -> dict[str, str]:
    """Fingerprints of the plans' texts by dataset, of those that are there.

    Raises UsageError where one place is to serve two datasets.
    """
    datasets = sorted({plan.dataset for plan in plans if not plan.is_task})
    if data and len(datasets) > 1:
        raise UsageError(f"--data can't be {' and '.join(datasets)}: name targets of one of them")
    found = {}
    for plan in plans:
        if not plan.is_task and plan.dataset not in found:
            try:
                found[plan.dataset] = _text(plan, data).fingerprint
            except UsageError:
                if data:
                    raise
    return found


def require_texts(plans: Sequence[Plan], data: str) -> None:
    """Raise UsageError, which says how to get it, where a text is missing or not the plans'."""
    for plan in {plan.dataset: plan for plan in plans if not plan.is_task}.values():
        n_token = len(_text(plan, data).vocabulary)
        if plan.n_token not in (None, n_token):
            raise UsageError(
                f"the text of {plan.dataset} has {n_token:,} different tokens, but the paper's has "
                f"{plan.n_token:,}: get it with getdata.sh, or choose --scale mini"
            )


def _text(plan: Plan, data: str) -> Corpus:
    config, _ = plan.configurations
    return load_text(replace(config, data=data))


# --- what is said --------------------------------------------------------------------------------


def dry_run(left: Sequence[Planned], jobs: Sequence[Job], n_parallel: int) -> str:
    """The commands, and how long they would take at most."""
    lines = [f"python -m rmt.train {shlex.join(job.command)}\n" for job in jobs]
    lines = [line.replace(f"{project_root()}/", "") for line in lines]
    precisions = [each.plan.configurations[0].precision for each in left]
    costs = list(zip(jobs, precisions, strict=True))
    flops = sum(job.cost for job in jobs)
    times = [(f"one {gpu}", sum(hours(job.cost, gpu, p) for job, p in costs)) for gpu in GPUS]
    n = min(n_cores(), n_parallel)
    times.append((f"{n} CPU core{'s' if n > 1 else ''}", flops / n / PER_CORE / 3600))
    rows = [[where, f"{time:,.1f}"] for where, time in times]
    shares = " and ".join(f"{share:.0%} of its {name} peak" for name, share in UTILIZATION.items())
    about = (
        f"\n{flops:.3g} operations. Estimated, without evaluations, for a GPU at {shares}, for a "
        f"core at {PER_CORE / 1e9:.0f} GFLOP/s. Models as small as those of mini scale and of the "
        "tasks will not reach that on a GPU; tasks end when they are solved.\n\n"
    )
    return "".join(lines) + about + markdown(["on", "hours"], rows)


def show(targets: Sequence[str], results: Path, with_data: bool) -> None:
    """Write all tables and figures, and print the tables asked for.

    Without data these are of other runs than the tables that are kept, and have names of their own.
    """
    runs = finished_runs(results / "runs")
    write_tables(runs, results)
    for path in write_figures(runs, results):
        if path.stem in targets:
            print(f"drawn: {path}")
    for name in targets:
        if name in PAPER_TABLES:
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
    return 130 if n_left else int(bool(outcome.failed))


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.reproduce", description=__doc__)
    parser.add_argument(
        "targets",
        nargs="+",
        choices=(*TARGETS, *STUDIES),
        metavar="TARGET",
        help=f"of the paper: {', '.join(TARGETS)}; our studies: {', '.join(STUDIES)}",
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        required=True,
        help="paper: its settings; mini: small enough for two CPU cores (rmt/scales.py)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        default=[],
        metavar="NAME",
        help="as --dry_run names them, with * for anything",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument(
        "--data",
        default="",
        help="file or folder of the text; without it mini is of the reference inside Python",
    )
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="do the I-th of N shares (SLURM arrays)"
    )
    parser.add_argument(
        "--results", type=Path, default=project_root() / "results", help="folder of runs and tables"
    )
    parser.add_argument("--dry_run", action="store_true", help="print commands and estimated hours")
    options = parser.parse(argv)
    options["targets"] = list(dict.fromkeys(options["targets"]))
    studies = [name for name in options["targets"] if name in STUDIES]
    if studies and options["scale"] != "mini":
        raise UsageError(f"{studies[0]} is a study at mini scale: give --scale mini")
    for name in ("seeds", "jobs"):
        if options[name] < 1:
            raise UsageError(f"{name} must be at least 1, but it is {options[name]}")
    try:
        first, n_shares = map(int, options["share"].split("/"))
    except ValueError:
        first, n_shares = 0, 0
    if not 1 <= first <= n_shares:
        raise UsageError(f"share must be I/N with I from 1 to N, but it is {options['share']}")
    options["share"] = first, n_shares
    return options


if __name__ == "__main__":
    run_program(main)
