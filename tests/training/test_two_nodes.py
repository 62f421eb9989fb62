"""Two nodes: an agent of torchrun on each, which meet as those of the SLURM example do.

Here both are on this machine and meet over loopback.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from helpers.programs import (
    RMT,
    command,
    process_settings,
    records,
    result,
    wait_for_step,
    weights_of,
)
from rmt.runs import checkpoint
from rmt.runs.run_folder import in_use

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")

# A constant learning rate, so that a run may end at any step and be the same up to there.
OPTIONS = "--bptt_unrolls 1 --scheduler constant --dropout 0.1 --eval_interval 1000000".split()
OPTIONS += "--save_interval 5 --max_eval_steps 2 --multi_gpu".split()
FOR_EVER = ["--max_step", "1000000"]
SECONDS = 120  # of a machine that has much else to do


class Nodes:
    """Two agents, each of one process that trains; what they print is in files of the folder."""

    def __init__(self, folder: Path, flags: list[str]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        meeting = f"--rdzv_backend=c10d --rdzv_endpoint={endpoint} --rdzv_id=two".split()
        torchrun = ["--nnodes=2", "--nproc_per_node=1", *meeting, "--local_addr=127.0.0.1"]
        settings = process_settings() | {"stderr": subprocess.STDOUT}
        settings["env"] |= {"GLOO_SOCKET_IFNAME": "lo"}
        self.outputs = [folder / f"printed{i}.txt" for i in range(2)]
        self.agents = []
        for path in self.outputs:
            with path.open("a") as output:
                launched = command("rmt.launch", *torchrun, "--", *flags)
                self.agents.append(subprocess.Popen(launched, **settings | {"stdout": output}))

    def kill(self, i: int) -> None:
        """As if its power had failed."""
        trains = _children(self.agents[i].pid)
        assert len(trains) == 1
        for pid in (self.agents[i].pid, *trains):
            os.kill(pid, signal.SIGKILL)
        self.agents[i].wait()

    def ends(self) -> list[int]:
        """How the agents have ended, when they have."""
        return [agent.wait(SECONDS) for agent in self.agents]

    def printed(self) -> str:
        return "".join(path.read_text() for path in self.outputs)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def start(tiny, tmp_path):
    """start(work_dir, flags): train on two nodes, which must have ended before the next are
    started."""
    started = []

    def start(work_dir: Path, *flags: object) -> Nodes:
        own = [*tiny, *RMT, *OPTIONS, "--work_dir", str(work_dir), *map(str, flags)]
        started.append(Nodes(tmp_path, own))
        return started[-1]

    yield start
    for nodes in started:
        for agent in nodes.agents:
            if agent.poll() is None:
                trains = _children(agent.pid)
                agent.kill()
                for pid in trains:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                agent.wait()
    print(started[-1].printed()[-5000:])  # which a test that fails shows


def a_node_dies(start: Callable, work_dir: Path, which: int, *flags: str) -> int:
    """Train until some steps after a checkpoint, and kill one of the nodes; the other ends by
    itself. Returns the last step saved."""
    begun = len(records(work_dir, "train")) if work_dir.exists() else 0
    nodes = start(work_dir, *FOR_EVER, *flags)
    wait_for_step(nodes.agents[0], work_dir, begun + 12)
    nodes.kill(which)
    assert nodes.ends()[1 - which] == 1
    assert not in_use(work_dir), "the process of the other node has ended, too"
    return checkpoint.find(work_dir, warn=print).step


def test_whichever_node_dies_a_restart_of_both_is_exact(start, tmp_path):
    """One of the two writes the files, and one keeps the store in which they meet."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    first = a_node_dies(start, killed, 0)
    second = a_node_dies(start, killed, 1, "--restart")
    assert second > first >= 10
    end = ["--max_step", second + 7]
    assert start(killed, *end, "--restart").ends() == [0, 0]
    assert start(whole, *end).ends() == [0, 0]

    log = (killed / "log.txt").read_text()
    assert [f"continuing after step {step}\n" in log for step in (first, second)] == [True, True]
    assert result(killed)["processes"] == result(whole)["processes"] == 2
    mine, theirs = weights_of(killed), weights_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)
    losses, others = (
        {entry["step"]: entry["loss"] for entry in records(folder, "train")}
        for folder in (killed, whole)
    )
    assert list(losses) == list(others) == list(range(1, second + 8))
    # A save rounds the sum of the losses logged, nothing else.
    assert list(losses.values()) == pytest.approx(list(others.values()), rel=1e-12)
