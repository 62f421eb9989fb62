"""Speed of training: python -m rmt.bench wt103 enwik8 copy [options]

Each case (named sizes, model, gradient depth, precision) is measured in a process of its own on
made-up data: time of a step, tokens/s, the share of what the machine's matrix products could do,
peak memory and the parts the time goes to. One unit is the time that the layers' counted
operations, forward and backward over all segments of a step, would take at the fp32 matrix rate
measured in the same process.

Any option of rmt.train overrides the named sizes, e.g. --batch_size 2 --checkpoint_segments.
"""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import torch

from rmt.benchmark.measure import Case, in_new_process, measure, new_report
from rmt.data.tasks.tasks import make_task
from rmt.options.command_line import Parser, pick
from rmt.options.config import (
    MODELS,
    WRITE_MEMORY,
    ModelConfig,
    TaskConfig,
    TrainConfig,
    check_together,
)
from rmt.paper.experiments import MODEL_SIZES
from rmt.runs.markdown import markdown
from rmt.runs.run_folder import write_text
from rmt.runtime.errors import ProcessKilled, UsageError, run_program
from rmt.runtime.progress import Progress
from rmt.training.workloads import in_segments

# The paper's models and segments; batches small enough for a desktop computer.
NAMED = {
    "wt103": MODEL_SIZES["wt103"] | {"tgt_len": 50, "batch_size": 8, "mem_len": 10},
    "enwik8": MODEL_SIZES["enwik8"] | {"tgt_len": 128, "batch_size": 8, "mem_len": 10},
    "copy": {
        **{"n_layer": 4, "d_model": 128, "n_head": 4, "d_head": 64, "d_inner": 256},
        **{"n": 24, "segments": 6, "batch_size": 32, "mem_len": 12, "bptt_unrolls": -1},
    },
}
AGAINST = ("plain", "replay")
COMMON = {"dropout": 0.1, "seed": 1}
# Options of rmt.train of which a measurement takes several.
INSTEAD = {
    **{"dataset": "SIZES", "model": "--models"},
    **{"bptt_unrolls": "--bptt", "precision": "--precisions"},
}


def cases(names: Sequence[str], options: dict) -> Iterator[Case]:
    """Every case once; models that pass no gradient between segments have no depths.

    Raises UsageError for options that no case can have.
    """
    for name in names:
        sizes = COMMON | {"dataset": name} | NAMED[name]
        for model in options["models"]:
            memory = {"mem_len": 0} if model == "baseline" else {}
            depths = _depths(sizes, model, options["bptt"])
            for depth, precision in product(depths, options["precisions"]):
                own = {"model": model, "bptt_unrolls": depth, "precision": precision}
                yield _case(name, sizes | memory | own | options)


def _depths(sizes: dict, model: str, asked: Sequence[int]) -> Sequence[int]:
    """A task's gradient flows through whole samples, in any model."""
    if "bptt_unrolls" in sizes:
        return [sizes["bptt_unrolls"]]
    return asked if model in WRITE_MEMORY else [0]


def _case(name: str, options: dict) -> Case:
    train = TrainConfig(**pick(TrainConfig, options))
    task = TaskConfig(**pick(TaskConfig, options)) if train.is_task else None
    if task:
        train = in_segments(train, task)
        options = options | {"n_token": len(make_task(train.dataset, task).symbols)}
    model = ModelConfig(**pick(ModelConfig, options))
    check_together(model, train)
    if options["against"] == "replay" and train.bptt_mode != "window":
        raise UsageError("--against replay compares --bptt_mode window with it: say both")
    return Case(name, model, train, task, options["steps"], options["against"])


def measured(case: Case) -> dict:
    """measure(case) in a new process. Raises ProcessKilled if that was."""
    try:
        return in_new_process(measure, case)
    except ProcessKilled as error:
        raise ProcessKilled(
            f"{label(case)}: {error}; try a smaller --batch_size or --checkpoint_segments"
        ) from None


def label(case: Case) -> str:
    return f"{case.name} {case.model.model} {_schedule(case.train.recorded())}"


def _schedule(train: dict) -> str:
    depth = "full" if train["bptt_unrolls"] < 0 else f"BPTT-{train['bptt_unrolls']}"
    extras = [f"{train['batch_chunk']} chunks"] if train["batch_chunk"] > 1 else []
    extras += ["window"] if train["bptt_mode"] == "window" and train["bptt_unrolls"] > 0 else []
    extras += ["checkpointed"] if train["checkpoint_segments"] else []
    return ", ".join([depth, *extras])


def table(results: Sequence[dict]) -> str:
    """The measurements in Markdown, a row each."""
    head = ["sizes", "model", "gradient", "precision", "ms/step", "spread", "tokens/s"]
    head += ["units", "of matrix rate", "peak memory"]
    others = [other for other in AGAINST if any(other in result for result in results)]
    for other in others:
        head += [f"{other} ms/step", f"times {other}'s tokens/s"]
    rows = []
    for found in results:
        train, ms = found["train"], 1000 * found["seconds_per_step"]
        row = [found["name"], found["model"]["model"], _schedule(train), train["precision"]]
        row += [f"{ms:,.1f}", f"{1000 * found['fastest']:,.1f} to {1000 * found['slowest']:,.1f}"]
        row += [f"{found['tokens_per_s']:,.0f}", f"{found['units']:.2f}"]
        row += [f"{found['utilization']:.0%}", f"{found['peak_memory_bytes'] / 2**30:.2f} GiB"]
        for other in (found.get(name) for name in others):
            row += [f"{1000 * other['seconds_per_step']:,.1f}"] if other else [""]
            row += [f"{other['ratio']:.2f}"] if other else [""]
        rows.append(row)
    return markdown(head, rows, n_words=4)


def split_table(results: Sequence[dict]) -> str:
    """Where the time goes, in Markdown: a row for each measurement, a column for each part.

    Empty without any; compiled models have none.
    """
    results = [found for found in results if "split" in found]
    if not results:
        return ""
    parts = list(dict.fromkeys(part for found in results for part in found["split"]))
    rows = [
        [found["name"], found["model"]["model"], _schedule(found["train"])]
        + [found["train"]["precision"]]
        + [f"{found['split'].get(part, 0):.0%}" for part in parts]
        for found in results
    ]
    return markdown(["sizes", "model", "gradient", "precision", *parts], rows, n_words=4)


def main(argv: list[str]) -> None:
    options = parse(argv)
    names, out = options.pop("names"), options.pop("out")
    planned = list(cases(names, options))
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative
    device = torch.device("cuda" if options.get("cuda") else "cpu")
    report = new_report(device)
    with Progress(len(planned), "measuring", unit="case") as progress:
        for case in planned:
            progress.update(0, note=label(case))
            report["results"].append(measured(case))
            progress.update()
            if out:  # after every case, so that nothing is lost on a Ctrl-C
                write_text(out, json.dumps(report, indent=1) + "\n")
    print(table(report["results"]), split_table(report["results"]), sep="\n", end="")


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.bench", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMED, metavar="SIZES", help=", ".join(NAMED))
    several = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--models", choices=MODELS, default=["rmt"], **several)
    parser.add_argument("--bptt", type=int, nargs="+", default=[1], metavar="N")
    precisions = ("fp32", "bf16", "fp16")
    parser.add_argument("--precisions", choices=precisions, default=["bf16"], **several)
    parser.add_argument("--steps", type=int, default=10, help="steps timed (default: 10)")
    parser.add_argument(
        "--against",
        choices=AGAINST,
        help="alternate with the plain model in fp32 (rmt/plain.py), or window with replay",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="keep the measurements")
    parser.add_options(ModelConfig)
    parser.add_options(TrainConfig)
    parser.add_options(TaskConfig)
    options = parser.parse(argv)
    for name, instead in INSTEAD.items():
        if name in options:
            raise UsageError(f"say {instead} here, not --{name}")
    if options["steps"] < 1:
        raise UsageError(f"steps must be at least 1, but it is {options['steps']}")
    return options


if __name__ == "__main__":
    run_program(main)
