"""What a reproduction would run, and how long that would take, before it is begun."""

import shlex
from collections.abc import Sequence

from rmt.reproduction.expected import GPUS, UTILIZATION, hours
from rmt.reproduction.jobs import Job
from rmt.reproduction.planned import Planned
from rmt.runs.reports import markdown
from rmt.runtime.files import project_root
from rmt.runtime.machine import n_cores

# Operations per second of a core in training models as small as those of mini scale, by the logs of
# such runs on a CPU that has bf16.
PER_CORE = 7e10


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
