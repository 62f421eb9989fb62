"""Several processes under torchrun end as one program does."""

import os
import signal
import subprocess

import pytest
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from helpers.programs import RMT, command, process_settings, records, run, wait_for_step
from rmt import launch
from rmt.runs import checkpoint

TORCHRUN = "--nnodes 1 --nproc_per_node 2 --rdzv_backend c10d --rdzv_endpoint 127.0.0.1:0".split()


@pytest.fixture
def start(tiny, tmp_path):
    """start(nohup): two processes that train until they are stopped, now in their 5th step."""
    started = []

    def start(nohup: bool) -> subprocess.Popen:
        flags = [
            *tiny,
            *RMT,
            *"--scheduler constant --max_step 1000000 --work_dir".split(),
            tmp_path,
        ]
        settings = process_settings()
        settings["env"]["GLOO_SOCKET_IFNAME"] = "lo"
        hangup = signal.SIG_IGN if nohup else signal.SIG_DFL
        process = subprocess.Popen(
            command("rmt.launch", *TORCHRUN, "--", *flags),
            **settings,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
        )
        started.append(process)
        wait_for_step(process, tmp_path, 5)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_terminals_signal_to_all_processes_saves(start, tmp_path, number):
    """torchrun gets it, too, and hands it on: that is no second Ctrl-C."""
    process = start(nohup=False)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -number, err
    step = records(tmp_path, "train")[-1]["step"]
    assert checkpoint.find(tmp_path, warn=pytest.fail).step == step
    assert f"interrupted after step {step}, saved" in out
    assert err.count("saving") == 1
    assert "Traceback" not in out + err


def test_nohup_is_heeded(start, tmp_path):
    process = start(nohup=True)
    step = records(tmp_path, "train")[-1]["step"]
    os.killpg(process.pid, signal.SIGHUP)
    wait_for_step(process, tmp_path, step + 20)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_nodes_that_lose_each_other_say_so_in_one_sentence(monkeypatch):
    def lost(args):
        raise RendezvousConnectionError("The connection to the C10d store has failed.")

    monkeypatch.setattr(launch, "run", lost)
    outcome = run(launch.main, "--nnodes=2", "--", "--debug")
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert "lost each other (The connection to the C10d store has failed)" in outcome.err
    assert "start all of them again, with --restart" in outcome.err
