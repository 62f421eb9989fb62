"""Print samples of a task: python -m rmt.data.tasks show reverse --n 6"""

from functools import partial

import numpy as np

from rmt.data.registry import tasks
from rmt.data.tasks.task import Task
from rmt.options.command_line import Parser, pick
from rmt.runtime.errors import UsageError, run_program


def main(argv: list[str]) -> None:
    known = tasks()
    parser = Parser(prog="python -m rmt.data.tasks", description=__doc__)
    parser.add_argument("action", choices=["show"], help="show: print a few samples")
    parser.add_argument("task", choices=known)
    parser.add_argument("--samples", type=int, default=4, help="how many (default: 4)")
    for dataset in known.values():
        parser.add_options(dataset.options, only=(*dataset.options.own(), "data_seed"))
    options = parser.parse(argv)
    dataset = known[options.pop("task")]
    n_samples = options.pop("samples")
    if n_samples < 1:
        raise UsageError(f"samples must be 1 or more, but it is {n_samples}")
    own = pick(dataset.options, options)
    for name in options.keys() - own.keys() - {"action"}:
        raise UsageError(f"{name} means nothing to dataset {dataset.name}: leave it out")
    task = dataset.make(dataset.options(**own))
    samples = task.generate(np.random.default_rng(own.get("data_seed", 0)), n_samples)
    # Where whole stages are filled up, a line is easier to read than columns.
    show = task.readable if task.final_size < task.answer_size else partial(_aligned, task)
    print("\n".join(map(show, samples)))


def _aligned(task: Task, sample: np.ndarray) -> str:
    """Input, target and marks of the targets that count, one below the other, and a blank line."""
    symbols = [task.symbols[i] for i in sample]
    marks = ["."] * (task.length - 1 - task.answer_size) + ["^"] * task.answer_size
    rows = {"input": symbols[:-1], "target": symbols[1:], "loss": marks}
    return "".join(f"{name:8}{' '.join(row)}\n" for name, row in rows.items())


if __name__ == "__main__":
    run_program(main)
