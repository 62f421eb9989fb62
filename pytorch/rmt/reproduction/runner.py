"""Run what tables, figures and studies need, and make them anew from the logs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from rmt.data.text.corpora import Corpus
from rmt.paper.experiments import TABLES
from rmt.reproduction.foretold import dry_run, without_gpu
from rmt.reproduction.jobs import Job, Outcome, run_jobs
from rmt.reproduction.paper_tables import midi_table, paper_table
from rmt.reproduction.planned import Order, Planned, cost, with_sources
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import FOR_GPUS, WITHOUT_DATA
from rmt.reproduction.studies.registry import STUDIES, study_table
from rmt.reproduction.targets import PAPER_TABLES, each_once, plans_of
from rmt.reproduction.texts import Reading, find_texts, reading_of, require_texts, small_text
from rmt.reproduction.write_results import write_figures, write_tables
from rmt.runs.logged_runs import finished_runs
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text


def reproduce(order: Order) -> int:
    """Run what is left to do, and make tables and figures anew; returns the exit status."""
    with_data = order.scale != "mini" or bool(order.data)
    by_target = {target: plans_of(target, order.scale, with_data) for target in order.targets}
    for target, plans in by_target.items():
        if not plans:
            raise UsageError(f"{target} needs a text: name it with --data")
    plans = choose(each_once(by_target.values()), order.rows)
    if order.scale == "midi" and not order.data:
        order = replace(order, data=small_text(plans[0]))
    texts = find_texts(plans, order.data)

    planned = share_of(order, plans, texts)
    runs = finished_runs(order.results / "runs")
    missing = [each for each in planned if not any(map(each.counts, runs))]
    left, without_weights = with_sources(missing)
    if without_weights and not left:
        raise UsageError(next(iter(without_weights.values())))
    for each in left:
        each.refuse_others()
    jobs = to_jobs(left, order)
    n_there = len(planned) - len(missing)
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
        require_texts(plans, texts, order.data)
        outcome = run_jobs(
            list(jobs), order.n_jobs, lambda job: jobs[job].is_finished(), order.n_gpus
        )
    try:
        if order.share == (1, 1):  # else others may be writing them, too
            show(order, with_data)
    finally:
        status = report(outcome, list(jobs), without_weights)
    return status


def share_of(order: Order, plans: Sequence[Plan], texts: Mapping[Reading, Corpus]) -> list[Planned]:
    """The runs of all seeds, as far as they are this share's. texts: what find_texts has found."""
    longest_first = sorted(plans, key=cost, reverse=True)  # else a long one may be left to the end
    planned = []
    for seed in range(1, order.seeds + 1):
        for plan in longest_first:
            text = texts.get(reading_of(plan))
            folder = order.results / "runs" / plan.folder_name(seed)
            planned.append(Planned(plan, seed, folder, text.fingerprint if text else None))
    first, n_shares = order.share
    return planned[first - 1 :: n_shares]


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


def report(outcome: Outcome, jobs: Sequence[Job], left_out: Mapping[str, str]) -> int:
    """Say what failed, what was left out and what is left; returns the exit status."""
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    n_left = len(jobs) - len(outcome.finished) - len(outcome.failed)
    if n_left:
        print(f"interrupted: {n_left} runs are left, and the same command goes on with them")
        return 128 + outcome.signal
    return int(bool(outcome.failed or left_out))
