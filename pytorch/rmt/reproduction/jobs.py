"""Training runs side by side, each a process of rmt.train with a run folder of its own.

Whatever happens to this process, nothing that was finished is lost and nothing is done twice: what
is left to do is read from the run folders, and a run whose process ended early goes on from its
last checkpoint.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rmt.options.command_line import command_line
from rmt.runs.run_folder import in_use, saved_checkpoints
from rmt.runtime.files import SOURCE
from rmt.runtime.interruption import Interruption
from rmt.runtime.machine import ALLOCATORS, n_cores
from rmt.runtime.progress import Progress

POLL_SECONDS = 0.5
BAR = "{desc} {percentage:.1f}%|{bar}| {elapsed}, {remaining} left{postfix}"


@dataclass(frozen=True, eq=False)
class Job:
    """One run.

    options: of rmt.train, but where it is kept. steps: how many it has at most. cost: of all of
    them, in any unit that the jobs share. after: the one with whose weights it begins.
    """

    folder: Path
    options: Mapping[str, object]
    steps: int
    cost: float
    after: "Job | None" = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def output(self) -> Path:
        """What the run prints; removed where it succeeds."""
        return self.folder.with_name(f"{self.name}.out")

    @property
    def command(self) -> list[str]:
        """All options of rmt.train; the run goes on from its checkpoint if there is one."""
        restart = ["--restart"] if saved_checkpoints(self.folder) else []
        return [*command_line(self.options), "--work_dir", str(self.folder), *restart]

    def share_done(self) -> float:
        """How much of the training is done, from 0 to 1, as the log says."""
        try:
            *_, last = (self.folder / "metrics.jsonl").read_text().splitlines()
            return min(1.0, json.loads(last)["step"] / self.steps)
        except (OSError, ValueError, KeyError):  # nothing yet, or a line that is being written
            return 0.0


@dataclass
class Outcome:
    """What became of the jobs, by name; failed says why, in one line. Others were interrupted.

    signal: the number of the one that interrupted them.
    """

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    signal: int | None = None


def run_jobs(
    jobs: Sequence[Job], n_parallel: int, is_finished: Callable[[Job], bool], n_gpus: int = 0
) -> Outcome:
    """Run jobs, n_parallel at a time, in their order; one that fails doesn't stop the others.

    One that begins with another's weights waits until that is finished, and fails with it.
    is_finished says of a job's folder whether its run is there. A job whose folder another process
    is writing waits until that ends. Processes take turns among the GPUs. On Ctrl-C, SIGTERM or
    SIGHUP the running ones save and end; they also do if this process is killed.
    """
    waiting, outcome = deque(jobs), Outcome()
    running: dict[int, tuple[Job, subprocess.Popen]] = {}
    with (
        Interruption() as interruption,
        Progress(100.0, "reproducing", unit="%", smoothing=0, bar_format=BAR) as progress,
    ):
        shares = _Shares(jobs, progress)
        while running or (waiting and not interruption.requested):
            if interruption.requested:
                for _, process in running.values():
                    process.terminate()
            else:
                _fill(running, waiting, n_parallel, is_finished, outcome, n_gpus)
            time.sleep(POLL_SECONDS)
            for slot, (job, process) in list(running.items()):
                status = process.poll()
                if status is None:
                    continue
                del running[slot]
                finished = is_finished(job)
                if not finished and in_use(job.folder):
                    waiting.append(job)  # another process was faster to take the folder
                elif finished or not interruption.requested:
                    progress.print(f"{job.name}: {_settle(job, status, finished, outcome)}")
            shares.show([job for job, _ in running.values()], outcome)
        outcome.signal = interruption.number
    return outcome


def _fill(running, waiting, n_parallel, is_finished, outcome, n_gpus) -> None:
    """Start waiting jobs until n_parallel are running."""
    for _ in range(len(waiting)):
        slot = next((slot for slot in range(n_parallel) if slot not in running), None)
        if slot is None:
            return
        job = waiting.popleft()
        if job.after and job.after.name in outcome.failed:
            outcome.failed[job.name] = f"it begins with {job.after.name}, which failed"
        elif in_use(job.folder) or (job.after and job.after.name not in outcome.finished):
            waiting.append(job)
        elif is_finished(job):  # by another process that has the same to do
            outcome.finished.append(job.name)
        else:
            running[slot] = job, _start(job, n_parallel, slot, n_gpus)


def _start(job: Job, n_parallel: int, slot: int, n_gpus: int) -> subprocess.Popen:
    environment = ALLOCATORS | os.environ
    source = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, source))
    if n_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(n_gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % n_gpus]
    if n_parallel > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, n_cores() // n_parallel)))
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with job.output.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rmt.train", *job.command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with(os.getpid()) if sys.platform == "linux" else None,
        )


def _end_with(parent: int) -> Callable[[], None]:
    """For a new process: get SIGTERM, on which a run saves, when the one that started it dies."""
    prctl, pr_set_pdeathsig = ctypes.CDLL(None).prctl, 1

    def end_with_parent() -> None:
        prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # which has died already
            os._exit(1)

    return end_with_parent


def _settle(job: Job, status: int, finished: bool, outcome: Outcome) -> str:
    """Note how a job ended; returns a line that says it."""
    try:
        lines = job.output.read_text(errors="replace").splitlines()
    except FileNotFoundError:  # another runner has seen to it
        lines = []
    if finished:
        outcome.finished.append(job.name)
        job.output.unlink(missing_ok=True)
        scores = [line.strip("| ") for line in lines if "End of training" in line]
        return scores[-1] if scores else "finished"
    if (job.folder / "result.json").exists():
        reason = "it ended, but its files are not those of the run that was asked for"
    elif lines and "interrupted after step" in lines[-1]:  # by somebody else
        reason = "interrupted and saved"
    elif status < 0:
        reason = f"killed by {signal.Signals(-status).name}"
        reason += ", most likely for lack of memory" if -status == signal.SIGKILL else ""
    else:
        reason = lines[-1].removeprefix("error: ") if lines else f"ended with status {status}"
    outcome.failed[job.name] = reason
    return f"failed, all it said is in {job.output}: {reason}"


class _Shares:
    """Shows how much of the jobs' cost is done, in percent."""

    def __init__(self, jobs: Sequence[Job], progress: Progress):
        self.shares = {job.name: 0.0 for job in jobs}
        # Where what a run costs can't be told, each counts by its steps.
        by_cost = all(job.cost for job in jobs)
        self.costs = {job.name: job.cost if by_cost else float(job.steps) for job in jobs}
        self.already = {job.name: job.share_done() for job in jobs}
        self.progress = progress

    def show(self, running: Sequence[Job], outcome: Outcome) -> None:
        settled = {*outcome.finished, *outcome.failed}
        self.shares |= dict.fromkeys(settled, 1.0)
        self.shares |= {job.name: job.share_done() for job in running}
        # What was done before this process began would make the time left look shorter.
        done = left = 0.0
        for name, cost in self.costs.items():
            already = self.already[name]
            done += cost * max(0.0, self.shares[name] - already)
            left += cost * (1 - already)
        percent = 100 * done / left if left else 100.0
        note = f"{len(settled)} of {len(self.costs)} runs done"
        note += f", {len(outcome.failed)} failed" if outcome.failed else ""
        self.progress.update(max(0.0, percent - self.progress.count), note=note)
