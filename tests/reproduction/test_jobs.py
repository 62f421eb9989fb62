"""How runs are started side by side; what becomes of them is in test_reproduce.py."""

import json
from typing import ClassVar

import pytest

from rmt.reproduction import jobs
from rmt.reproduction.jobs import Job
from rmt.runtime import machine


class Started:
    """In place of subprocess.Popen: keeps what it was told, prints its output and ends at once."""

    all: ClassVar[list["Started"]] = []
    status: ClassVar[int] = 0
    output: ClassVar[str] = ""

    def __init__(self, command, env, stdout, **_):
        self.command, self.env = command, env
        stdout.write(Started.output)
        Started.all.append(self)

    def poll(self) -> int:
        return Started.status

    @classmethod
    def has(cls, job: Job) -> bool:
        return any(str(job.folder) in started.command for started in cls.all)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(jobs.subprocess, "Popen", Started)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    monkeypatch.setattr(Started, "all", [])


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Run as many jobs as fit side by side; returns their environments."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def start(n_parallel: int, n_gpus: int) -> list[dict]:
        several = [Job(tmp_path / f"run{i}", {"lr": 1}, 10, 1.0) for i in range(n_parallel)]
        jobs.run_jobs(several, n_parallel, Started.has, n_gpus)
        return [started.env for started in Started.all]

    return start


def test_processes_take_turns_among_gpus(start):
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


@pytest.fixture
def ended(job, monkeypatch):
    """Run the job, whose process prints this and ends so; returns what became of it."""

    def ended(status: int, output: str = "", finished: bool = False) -> jobs.Outcome:
        monkeypatch.setattr(Started, "status", status)
        monkeypatch.setattr(Started, "output", output)
        return jobs.run_jobs([job], 1, lambda job: finished and Started.has(job))

    return ended


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
def test_why_a_run_failed(job, ended, status, output, reason):
    assert ended(status, output).failed == {"run": reason}
    assert job.output.read_text() == output


def test_a_run_that_is_another_than_asked_for_is_no_success(job, ended):
    job.folder.mkdir()
    (job.folder / "result.json").write_text("{}")
    (reason,) = ended(0).failed.values()
    assert "not those of the run that was asked for" in reason


def test_what_a_finished_run_printed_is_not_kept(job, ended):
    assert ended(0, "bpc 1\n", finished=True).finished == ["run"]
    assert not job.output.exists()


def test_what_another_process_has_finished_is_not_started(job):
    assert jobs.run_jobs([job], 1, lambda job: True).finished == ["run"]
    assert not Started.all


def test_a_job_waits_while_another_process_has_its_folder(job, monkeypatch):
    """Also if that took it after the job was started, which then ended with an error."""
    answers = iter([True, False, True, False])  # before starting, start, ended: in use, start
    monkeypatch.setattr(jobs, "in_use", lambda folder: next(answers))
    finished = iter([False, False, False, True])
    outcome = jobs.run_jobs([job], 1, lambda job: next(finished))
    assert outcome.finished == ["run"]
    assert not outcome.failed
    assert len(Started.all) == 2


@pytest.fixture
def chain(tmp_path):
    """A job and one that begins with its weights, which is told first."""
    source = Job(tmp_path / "source", {}, 10, 1.0)
    return [Job(tmp_path / "own", {}, 10, 1.0, after=source), source]


def test_a_job_waits_for_the_one_it_begins_with(chain):
    """Also where there is room for both."""
    outcome = jobs.run_jobs(chain, 2, Started.has)
    assert outcome.finished == ["source", "own"]
    started = [started.command[-1] for started in Started.all]
    assert started == [str(job.folder) for job in reversed(chain)]


def test_a_job_fails_with_the_one_it_begins_with(chain, monkeypatch):
    monkeypatch.setattr(Started, "output", "error: no text\n")
    outcome = jobs.run_jobs(chain, 2, lambda job: False)
    assert outcome.failed == {
        "source": "no text",
        "own": "it begins with source, which failed",
    }
    assert len(Started.all) == 1
