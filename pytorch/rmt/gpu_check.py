"""Does training work on this GPU, and how fast: python -m rmt.gpu_check OUT

Trains a small model for some hundred steps: captured in a CUDA graph, with compiled layers, and as
they are. Then runs the tests marked cuda, and measures steps of all forms in the paper's own
batches. OUT/gpu-check.json and OUT/gpu-check.md tell of all three, OUT/gpu-tests.txt of every test.
The exit status is 1 if forms train in different ways, or if a test or a measurement failed.
run_scripts/gpu_check.sh starts it.

With RMT_DEVICE=cpu it goes through the same with tiny models and stand-ins for what only a GPU has.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import torch

from rmt.benchmark import agreement
from rmt.benchmark.measure import in_new_process, new_report
from rmt.benchmark.on_gpu import measure_in_turn, planned, report_page
from rmt.options.command_line import Parser
from rmt.runtime.errors import ProcessKilled, UsageError, run_program
from rmt.runtime.files import checkout, write_text
from rmt.runtime.machine import n_cores
from rmt.runtime.progress import Progress

SECONDS_OF_A_GROUP = 45  # about what the longest takes; with less time left none is begun
FOR_TESTS = 0.5  # the most of the time that the tests may take
MOST_TEST_PROCESSES = 8  # they share the GPU
FAILING = ("FAILED", "ERROR")


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m rmt.gpu_check", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the report")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    parser.add_argument("--steps", type=int, default=10, help="steps timed (default: 10)")
    options = parser.parse(argv)
    on_stand_ins = os.environ.get("RMT_DEVICE") == "cpu"
    if not on_stand_ins and not torch.cuda.is_available():
        raise UsageError(
            "PyTorch sees no GPU here: RMT_DEVICE=cpu goes through the check without one"
        )
    if checkout() is None:
        raise UsageError("the check runs the tests of a source checkout, and this is none")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative
    options["out"].mkdir(parents=True, exist_ok=True)

    end = time.monotonic() + 60 * options["minutes"]
    report = new_report(torch.device("cpu" if on_stand_ins else "cuda"))
    report["stand_ins"] = on_stand_ins
    report["agreement"] = train_alike(on_stand_ins)
    keep(report, options["out"])
    report["tests"] = run_tests(60 * options["minutes"] * FOR_TESTS, options["out"])
    groups = list(planned(small=on_stand_ins, steps=options["steps"]))
    report["left_out"] = [group.label for group in groups]
    keep(report, options["out"])
    with Progress(len(groups), "measuring", unit="group") as progress:
        for group in groups:
            if time.monotonic() > end - SECONDS_OF_A_GROUP:
                break
            progress.update(0, note=group.label)
            try:
                report["results"] += in_new_process(measure_in_turn, group.cases)
            except ProcessKilled as error:
                report["results"].append({"name": group.label, "failed": str(error)})
            report["left_out"].remove(group.label)
            progress.update()
            keep(report, options["out"])  # after every group, so that nothing is lost on a Ctrl-C
    print(report_page(report), end="")
    failed = any("failed" in found for found in report["results"] + report["agreement"])
    apart = any(found.get("apart_from") is not None for found in report["agreement"])
    return 1 if failed or apart or report["tests"]["failures"] else 0


def train_alike(on_stand_ins: bool) -> list[dict]:
    """What each form of the step makes of the same training (benchmark/agreement.py)."""
    cases = list(agreement.cases(small=on_stand_ins))
    losses, failed = {}, []
    with Progress(len(cases), "training", unit="form") as progress:
        for name, case, compiles in cases:
            progress.update(0, note=name)
            try:
                losses[name] = in_new_process(agreement.losses, case, compiles)
            # Whatever a GPU, a compiler or a driver may say, the other forms are tried.
            except Exception as error:
                lines = f"{type(error).__name__}: {error}".splitlines()
                failed.append({"form": name, "failed": lines[0]})
            progress.update()
    return agreement.compared(losses) + failed


def run_tests(seconds: float, out: Path) -> dict:
    """The tests marked cuda: how many passed and were skipped, and which failed, and why."""
    with TemporaryDirectory() as folder, (out / "gpu-tests.txt").open("w") as log:
        found = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", "cuda", "--maxfail", "20", "-vv"]
        command += ["--junit-xml", str(found), "-p", "no:cacheprovider"]
        if importlib.util.find_spec("xdist"):
            command += ["-n", str(min(MOST_TEST_PROCESSES, n_cores()))]
        started = time.monotonic()
        try:
            subprocess.run(
                command, cwd=checkout(), timeout=seconds, check=False, stdout=log, stderr=log
            )
        except subprocess.TimeoutExpired:
            return stopped_tests((out / "gpu-tests.txt").read_text(), seconds)
        if not found.exists():
            why = f"{sys.executable} has no pytest, or it could not begin: see gpu-tests.txt"
            return {"passed": 0, "skipped": 0, "seconds": 0.0, "failures": {"all": why}}
        suite = ElementTree.parse(found).getroot().find("testsuite")
        failures = {
            f"{case.get('classname')}::{case.get('name')}": wrong.get("message", "")[:500]
            for case in suite.iter("testcase")
            for wrong in [*case.findall("failure"), *case.findall("error")]
        }
        skipped = int(suite.get("skipped", 0))
        return {
            "passed": int(suite.get("tests", 0)) - len(failures) - skipped,
            "skipped": skipped,
            "seconds": round(time.monotonic() - started, 1),
            "failures": failures,
        }


def stopped_tests(log: str, seconds: float) -> dict:
    """The same of tests that were stopped, by what they had printed until then."""
    # "[gw1] [ 9%] PASSED name" where several processes run them, else "name PASSED [ 9%]".
    ended = []
    for line in log.splitlines():
        said = re.search(r"\b(PASSED|FAILED|ERROR|SKIPPED)\b", line)
        if said and "::" in line:
            before, after = line[: said.start()].strip(), line[said.end() :].strip()
            ended.append((after if "::" in after else before, said.group()))
    how = [outcome for _, outcome in ended]
    wrong = [name for name, outcome in ended if outcome in FAILING]
    return {
        "passed": how.count("PASSED"),
        "skipped": how.count("SKIPPED"),
        "seconds": seconds,
        "failures": {"the others": f"they took longer than {seconds:.0f} seconds"}
        | dict.fromkeys(wrong, "see gpu-tests.txt"),
    }


def keep(report: dict, out: Path) -> None:
    write_text(out / "gpu-check.json", json.dumps(report, indent=1) + "\n")
    write_text(out / "gpu-check.md", report_page(report))


if __name__ == "__main__":
    run_program(main)
