"""Score a trained run: python -m rmt.eval --help.

Without options it scores the newest run by the protocol of its own training, and so prints the test
score that training printed. On text, --protocol txl takes the lengths that Transformer-XL's own
evaluation scripts use for the dataset; --tgt_len and the lengths of the model choose others.

    python -m rmt.eval --work_dir RUN --text FILE ...

scores any text instead, each file from a new state on to its end, every token but the first once.

    python -m rmt.eval --work_dir RUN --pairs 50 --test_samples 1000

scores a run on a task on samples of another size: options of the samples (--n, --pairs and so on)
choose among runs where no run is named, else they say what the samples shall be.
"""

import json
from contextlib import nullcontext
from pathlib import Path

from rmt.data import registry as data
from rmt.evaluation.given_text import TextEvaluation, prepare_text
from rmt.evaluation.scoring import Evaluation, prepare
from rmt.models import registry as models
from rmt.options.command_line import Parser, pick
from rmt.options.evaluation import EvalConfig
from rmt.options.option import default_of
from rmt.runs.trained import check_is, newest_run
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import check_can_write, new_file

# Options of EvalConfig by which a run is chosen.
CHOOSING = ("dataset", "model", "bptt_unrolls", "segments", "seed")
# Options of samples that are no reason to choose a run.
HOW_MANY = ("valid_samples", "test_samples")
RULE = "=" * 100


def main(argv: list[str]) -> None:
    options = parse(argv)
    config = EvalConfig(**pick(EvalConfig, options))
    for name in config.written if distributed.is_main() else ():
        check_can_write(Path(name))  # before there is a score to be lost
    lengths = {name: options[name] for name in length_flags() if name in options}
    samples = {name: options[name] for name in sample_flags() if name in options}
    wanted = {name: getattr(config, name) for name in CHOOSING}
    wanted = {k: value for k, value in wanted.items() if value != default_of(EvalConfig, k)}
    if config.work_dir:
        work_dir = Path(config.work_dir)
        check_is(work_dir, wanted)
    else:
        wanted |= {name: samples.pop(name) for name in samples.keys() - set(HOW_MANY)}
        work_dir = newest_run(wanted, lengths)

    if config.text and samples:
        raise UsageError(f"{min(samples)} is for runs on tasks: leave it out with --text")
    try:
        if config.text:
            evaluation = prepare_text(config, work_dir, lengths)
        else:
            evaluation = prepare(config, work_dir, lengths, samples)
        write = config.json and distributed.is_main()
        with new_file(Path(config.json)) if write else nullcontext() as file:
            record = report(evaluation)
            if file:
                file.write(json.dumps(record, indent=1).encode() + b"\n")
    finally:
        distributed.stop()


def report(evaluation: Evaluation | TextEvaluation) -> dict:
    """Score, print the scores as they come, and return all that is known of them.

    Of several processes each scores its share, and the first one prints.
    """
    say = print if distributed.is_main() else nothing
    checkpoint, protocol = evaluation.checkpoint, evaluation.describe()
    say(f"| {checkpoint.path}, step {checkpoint.step}")
    say("| " + ", ".join(f"{name} {value}" for name, value in protocol.items()))
    readable, recorded = [], []
    for name, scores, seconds in evaluation.scores():
        n, unit = evaluation.amount(scores)
        say(f"| {name}: {n:,} {unit} in {seconds:.1f} s, {n / seconds:,.0f} {unit}/s")
        readable.append(f"{name} {evaluation.readable(scores)}")
        recorded.append({"of": name, **evaluation.record(scores), "seconds": seconds})
    say(RULE)
    say("| " + " | ".join(readable))
    say(RULE)
    # Its name alone: the folder may be moved with the file in it.
    about = {"checkpoint": checkpoint.path.name, "step": checkpoint.step, "protocol": protocol}
    if evaluation.samples:
        about["samples"] = evaluation.samples
    return {**about, "scores": recorded}


def nothing(_line: str) -> None:
    """What the other processes print."""


def parse(argv: list[str]) -> dict:
    """The options that were given."""
    parser = Parser(prog="python -m rmt.eval", description=__doc__)
    choices = {"dataset": ("", *data.datasets()), "model": ("", *models.entries())}
    parser.add_options(EvalConfig, choices=choices)
    for entry in models.entries().values():
        parser.add_options(entry.options, only=length_flags(), with_defaults=False)
    for dataset in data.with_answers().values():
        own = (*dataset.options.own(), *HOW_MANY)
        parser.add_options(dataset.options, only=own, with_defaults=False)
    return parser.parse(argv)


def length_flags() -> list[str]:
    """Options of models that evaluation may change, or choose a run by."""
    return [name for entry in models.entries().values() for name in entry.options.LENGTHS]


def sample_flags() -> list[str]:
    """Options of tasks' samples: to choose a run by, or of samples of another size."""
    own = [name for dataset in data.with_answers().values() for name in dataset.options.own()]
    return [*dict.fromkeys(own), *HOW_MANY]


if __name__ == "__main__":
    run_program(main)
