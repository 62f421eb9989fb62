"""How runs are started side by side; what becomes of them is in test_reproduce.py."""

import json
from typing import ClassVar

import pytest

from rmt.reproduction import jobs
from rmt.reproduction.jobs import Job
from rmt.runtime import machine


class Started:
    """In place of subprocess.Popen: keeps what it was told, and ends at once."""

    all: ClassVar[list["Started"]] = []

    def __init__(self, command, env, **_):
        self.command, self.env = command, env
        Started.all.append(self)

    def poll(self) -> int:
        return 0


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Start jobs in slots; returns their environments."""
    monkeypatch.setattr(jobs.subprocess, "Popen", Started)
    monkeypatch.setattr(Started, "all", [])
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def start(n_parallel: int, n_gpus: int) -> list[dict]:
        for slot in range(n_parallel):
            job = Job(tmp_path / f"run{slot}", {"lr": 1}, 10, 1.0)
            jobs._start(job, n_parallel, slot, n_gpus)
        return [started.env for started in Started.all]

    return start


def test_processes_take_turns_among_gpus(start, monkeypatch):
    assert [env["CUDA_VISIBLE_DEVICES"] for env in start(4, 2)] == ["0", "1", "0", "1"]


def test_only_gpus_that_may_be_used_are(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in start(3, 2)] == ["3", "5", "3"]


def test_cores_are_shared_out(start, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    assert [env["OMP_NUM_THREADS"] for env in start(3, 0)] == ["2", "2", "2"]


def test_a_run_alone_has_all_cores(start):
    assert "OMP_NUM_THREADS" not in start(1, 0)[0]


def test_the_share_done_is_the_logs(tmp_path):
    job = Job(tmp_path, {}, 200, 1.0)
    assert job.share_done() == 0
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(json.dumps({"kind": "train", "step": 50}) + "\n")
    assert job.share_done() == 0.25
    metrics.write_text('{"kind": "tr')
    assert job.share_done() == 0


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "run", {}, 10, 1.0)


def settled(job: Job, status: int, output: str = "", finished: bool = False) -> jobs.Outcome:
    job.folder.parent.mkdir(exist_ok=True)
    job.output.write_text(output)
    outcome = jobs.Outcome()
    jobs._settle(job, status, finished, outcome)
    return outcome


@pytest.mark.parametrize(
    ("status", "output", "reason"),
    [
        (2, "| step 1\nerror: lr must be positive\n", "lr must be positive"),
        (1, "Traceback\nKeyError: 3\n", "KeyError: 3"),
        (1, "", "ended with status 1"),
        (-9, "| step 400\n", "killed by SIGKILL, most likely for lack of memory"),
        (-15, "", "killed by SIGTERM"),
        (-15, "| interrupted after step 3, saved\n", "interrupted and saved"),
    ],
)
def test_why_a_run_failed(job, status, output, reason):
    assert settled(job, status, output).failed == {"run": reason}
    assert job.output.read_text() == output


def test_a_run_that_is_another_than_asked_for_is_no_success(job):
    job.folder.mkdir()
    (job.folder / "result.json").write_text("{}")
    (reason,) = settled(job, 0).failed.values()
    assert "not those of the run that was asked for" in reason


def test_what_a_finished_run_printed_is_not_kept(job):
    assert settled(job, 0, "bpc 1\n", finished=True).finished == ["run"]
    assert not job.output.exists()


def test_what_another_process_has_finished_is_not_started(job, start, monkeypatch):
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    assert jobs.run_jobs([job], 1, lambda job: True).finished == ["run"]
    assert not Started.all


def test_a_job_waits_while_another_process_has_its_folder(job, start, monkeypatch):
    """Also if that took it after the job was started, which then ended with an error."""
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    answers = iter([True, False, True, False])  # before starting, start, ended: in use, start
    monkeypatch.setattr(jobs, "in_use", lambda folder: next(answers))
    finished = iter([False, False, False, True])
    outcome = jobs.run_jobs([job], 1, lambda job: next(finished))
    assert outcome.finished == ["run"]
    assert not outcome.failed
    assert len(Started.all) == 2
