"""Does training work on this GPU, and how fast: python -m rmt.gpu_check OUT

Trains a small model for some hundred steps: as usual, captured in a CUDA graph, with compiled
layers, and both. Then runs the tests marked cuda, and measures steps of these forms in the paper's
own batches. OUT/gpu-check.json and OUT/gpu-check.md tell of all three, OUT/gpu-tests.txt of every
test. The exit status is 1 if forms train in different ways, or if a test or a measurement failed.
run_scripts/gpu_check.sh starts it.

With RMT_DEVICE=cpu it goes through the same with tiny models and stand-ins for what only a GPU has.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
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

# About what the longest takes; with less time left none is begun.
SECONDS_OF_A_FORM, SECONDS_OF_A_GROUP = 60, 45
TIMES_AS_LONG = 3  # what takes so many times as long hangs, and is stopped
FOR_TESTS = 0.5  # the most of the time that the tests may take
MOST_TEST_PROCESSES = 8  # they share the GPU
FAILING = ("FAILED", "ERROR")


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m rmt.gpu_check", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the report")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    parser.add_argument("--steps", type=int, default=10, help="steps timed (default: 10)")
    options = parser.parse(argv)
    for name in ("minutes", "steps"):
        if not options[name] > 0:
            raise UsageError(f"{name} must be above 0, but it is {options[name]}")
    on_stand_ins = os.environ.get("RMT_DEVICE") == "cpu"
    if not on_stand_ins and not torch.cuda.is_available():
        raise UsageError(
            "PyTorch sees no GPU here: RMT_DEVICE=cpu goes through the check without one"
        )
    if checkout() is None:
        raise UsageError("the check runs the tests of a source checkout, and this is none")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative
    options["out"].mkdir(parents=True, exist_ok=True)

    seconds = 60 * options["minutes"]
    end = time.monotonic() + seconds
    report = new_report(torch.device("cpu" if on_stand_ins else "cuda"))
    report |= {"stand_ins": on_stand_ins, "agreement": [], "left_out": []}
    train_alike(report, options["out"], end)
    report["tests"] = run_tests(
        max(1.0, min(seconds * FOR_TESTS, end - time.monotonic())), options["out"]
    )
    measure_steps(report, options["out"], end, options["steps"])
    print(report_page(report), end="")
    failed = any("failed" in found for found in report["results"] + report["agreement"])
    apart = any(found.get("apart_from") is not None for found in report["agreement"])
    return 1 if failed or apart or report["tests"]["failures"] else 0


def train_alike(report: dict, out: Path, end: float) -> None:
    """Add what each form of the step makes of the same training (benchmark/agreement.py)."""
    cases = list(agreement.cases(small=report["stand_ins"]))
    found: list[dict] = []
    with Progress(len(cases), "training", unit="form") as progress:
        for name, case, compiles in cases:
            if time.monotonic() > end - SECONDS_OF_A_FORM:
                report["left_out"].append(f"training {name}")
                continue
            progress.update(0, note=name)
            try:
                form = agreement.trained, name, case, compiles
                found.append(in_new_process(*form, seconds=most(SECONDS_OF_A_FORM, end)))
            except ProcessKilled as error:
                found.append({"form": name, "failed": str(error)})
            progress.update()
            report["agreement"] = agreement.compared(found)
            keep(report, out)  # so that nothing is lost on a Ctrl-C


def measure_steps(report: dict, out: Path, end: float, steps: int) -> None:
    """Add the time of steps, as far as there is time for it."""
    groups = list(planned(small=report["stand_ins"], steps=steps))
    report["left_out"] += [group.label for group in groups]
    keep(report, out)
    with Progress(len(groups), "measuring", unit="group") as progress:
        for group in groups:
            if time.monotonic() > end - SECONDS_OF_A_GROUP:
                break
            progress.update(0, note=group.label)
            try:
                seconds = most(SECONDS_OF_A_GROUP, end)
                report["results"] += in_new_process(measure_in_turn, group.cases, seconds=seconds)
            except ProcessKilled as error:
                report["results"].append({"name": group.label, "failed": str(error)})
            report["left_out"].remove(group.label)
            progress.update()
            keep(report, out)


def most(seconds: int, end: float) -> int:
    """How long something that takes about so many seconds may take."""
    return round(min(TIMES_AS_LONG * seconds, end - time.monotonic()))


def run_tests(seconds: float, out: Path) -> dict:
    """The tests marked cuda: how many passed and were skipped, and which failed, and why."""
    said = out / "gpu-tests.txt"
    print(f"testing, at most {seconds:.0f} seconds: see {said}", file=sys.stderr)
    with TemporaryDirectory() as folder, said.open("w") as log:
        found = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", "cuda", "--maxfail", "20", "-vv"]
        command += ["--junit-xml", str(found), "-p", "no:cacheprovider"]
        if importlib.util.find_spec("xdist"):
            command += ["-n", str(min(MOST_TEST_PROCESSES, n_cores()))]
        started = time.monotonic()
        tests = subprocess.Popen(
            command, cwd=checkout(), stdout=log, stderr=log, start_new_session=True
        )
        try:
            tests.wait(seconds)
        except subprocess.TimeoutExpired:
            return stopped_tests(said.read_text(), seconds)
        finally:  # with all that they have started, which would disturb what is timed next
            with suppress(ProcessLookupError):
                os.killpg(tests.pid, signal.SIGKILL)
            tests.wait()
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
