"""How runs are started side by side; what becomes of them is in test_reproduce.py."""

import json
from typing import ClassVar

import pytest

from rmt import jobs
from rmt.jobs import Job


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
            job = Job(tmp_path / f"run{slot}", ("--lr", "1"), 10, 1.0)
            jobs._start(job, n_parallel, slot, n_gpus)
        return [started.env for started in Started.all]

    return start


def test_processes_take_turns_among_gpus(start, monkeypatch):
    assert [env["CUDA_VISIBLE_DEVICES"] for env in start(4, 2)] == ["0", "1", "0", "1"]


def test_only_gpus_that_may_be_used_are(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [env["CUDA_VISIBLE_DEVICES"] for env in start(3, 2)] == ["3", "5", "3"]


def test_cores_are_shared_out(start, monkeypatch):
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    assert [env["OMP_NUM_THREADS"] for env in start(3, 0)] == ["2", "2", "2"]


def test_a_run_alone_has_all_cores(start):
    assert "OMP_NUM_THREADS" not in start(1, 0)[0]


def test_the_share_done_is_the_logs(tmp_path):
    job = Job(tmp_path, (), 200, 1.0)
    assert job.share_done() == 0
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(json.dumps({"kind": "train", "step": 50}) + "\n")
    assert job.share_done() == 0.25
    metrics.write_text('{"kind": "tr')
    assert job.share_done() == 0
