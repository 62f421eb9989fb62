"""Score a trained run: python -m rmt.eval --help.

Without options it scores the newest run by the protocol of its own training, and so prints the test
score that training printed. On text, --protocol txl takes the lengths that Transformer-XL's own
evaluation scripts use for the dataset; --tgt_len, --mem_len, --clamp_len and --same_length choose
others.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

from rmt.data.tasks.tasks import load_task
from rmt.evaluation.text import Protocol, in_train_protocol
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.options.command_line import Parser, pick
from rmt.options.config import EvalConfig, ModelConfig, TaskConfig, TrainConfig
from rmt.options.option import default_of
from rmt.runs import checkpoint
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import project_root
from rmt.training.workloads import AlgorithmicTask, LanguageModelling, Scoring, Workload, load_text

# Segment, cache and clamp_len of Transformer-XL's evaluation scripts, all with same_length.
# The large models are those with d_model 1024.
TXL_LENGTHS = {
    ("wt103", "base"): (64, 640, 400),
    ("wt103", "large"): (128, 1600, 1000),
    ("enwik8", "base"): (80, 2100, 820),
    ("enwik8", "large"): (128, 3800, 1000),
    ("text8", "base"): (80, 2100, 820),
    ("text8", "large"): (128, 3800, 1000),
}
# Options without a meaning to a task: its segments and cache are always those of training.
TEXT_ONLY = ("protocol", "tgt_len", "clamp_len", "same_length", "data")


def main(argv: list[str]) -> None:
    parser = Parser(prog="python -m rmt.eval", description=__doc__.splitlines()[0])
    parser.add_options(EvalConfig)
    config = EvalConfig(**pick(EvalConfig, parser.parse(argv)))
    device = distributed.start(config.cuda)

    work_dir = Path(config.work_dir) if config.work_dir else newest_run(config)
    model_config, train_config, task_config = read_run(work_dir)
    precision = config.precision or train_config.precision
    if precision == "fp16" and not config.cuda:
        raise UsageError("precision fp16 needs --cuda; on a CPU choose --precision bf16 or fp32")
    workload = load(config, model_config, train_config, task_config)
    workload.check()
    splits = ("valid", "test") if config.split == "all" else (config.split,)

    model = MemTransformerLM(model_config)
    find = checkpoint.find_best if config.checkpoint == "best" else checkpoint.find
    found = find(work_dir)
    if found.manifest.get("corpus") != workload.fingerprint:
        raise UsageError(
            "this is not the data the run was trained on, and its ids would mean other symbols: "
            "give --data the same text"
        )
    found.load_model(model)
    model.to(device)

    print(f"| {found.path}, step {found.step}")
    print("| " + ", ".join(f"{name} {value}" for name, value in workload.describe().items()))
    scores = {}
    for split in splits:
        started = time.perf_counter()
        how = Scoring(device, precision)
        scores[split] = workload.score(model, split, how, config.max_eval_steps)
        n, unit = workload.amount(scores[split])
        seconds = time.perf_counter() - started
        print(f"| {split}: {n:,} {unit} in {seconds:.1f} s, {n / seconds:,.0f} {unit}/s")
    print("=" * 100)
    print("| " + " | ".join(f"{s} {workload.readable(x)}" for s, x in scores.items()))
    print("=" * 100)


def newest_run(config: EvalConfig) -> Path:
    """The run with the newest checkpoint among those that fit the given options."""
    runs_dir = project_root() / "runs"
    fitting = []
    for path in runs_dir.glob("*/config.json"):
        newest = max((path.parent / "checkpoints").glob("step-*"), default=None)
        if newest is None:
            continue
        try:
            about = json.loads(path.read_text())
            settings = {**about["model"], **about["train"], **about.get("task", {})}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        chosen = ("dataset", "model", "bptt_unrolls", "segments", "n", "pairs", "seed")
        wanted = {name: getattr(config, name) for name in chosen}
        lengths = {name: getattr(config, name) for name in ("mem_len", "cache_len")}
        if settings.get("model") in ("mt", "rmt", "trxl_rmt"):
            wanted["mem_len"] = lengths.pop("mem_len")  # memory tokens can't be changed
        if _fits(wanted, settings):
            # A cache can be scored at any length, but one trained with the length asked for is
            # meant where there is one.
            fitting.append((_fits(lengths, settings), newest.stat().st_mtime, path.parent))
    if not fitting:
        raise UsageError(f"no run in {runs_dir} fits: train first, or name its folder: --work_dir")
    return max(fitting)[-1]


def _fits(wanted: dict, settings: dict) -> bool:
    """Whether settings have the wanted values; what the option's default is stands for any."""
    return all(
        value in (default_of(EvalConfig, name), settings.get(name))
        for name, value in wanted.items()
    )


def read_run(work_dir: Path) -> tuple[ModelConfig, TrainConfig, TaskConfig]:
    """The options of a run folder."""
    try:
        about = json.loads((work_dir / "config.json").read_text())
        return (
            ModelConfig.from_record(about["model"]),
            TrainConfig.from_record(about["train"]),
            TaskConfig(**about.get("task", {})),
        )
    except FileNotFoundError:
        raise UsageError(f"{work_dir} is not a run folder: it has no config.json") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{work_dir}/config.json can't be used ({error})") from None


def load(config: EvalConfig, model: ModelConfig, train: TrainConfig, task: TaskConfig) -> Workload:
    """The run's data and how to score it."""
    if train.is_task:
        for name in ("mem_len", "cache_len"):
            own = getattr(model, name)
            if getattr(config, name) not in (-1, own):
                raise UsageError(f"this run was trained with {name} {own}: leave {name} out")
        for name in TEXT_ONLY:
            if getattr(config, name) != default_of(EvalConfig, name):
                raise UsageError(f"{name} is for text; this is {train.dataset}: leave it out")
        train = replace(train, eval_batch_size=config.batch_size or train.eval_batch_size)
        data = load_task(train.dataset, task, config.encoded_dir or train.encoded_dir or None)
        return AlgorithmicTask(data, train)
    corpus = load_text(replace(train, data=config.data or train.data), config.encoded_dir)
    protocol = choose_protocol(config, model, train)
    return LanguageModelling(corpus, train, protocol)


def choose_protocol(config: EvalConfig, model: ModelConfig, train: TrainConfig) -> Protocol:
    """The protocol asked for, with single lengths replaced where they were given."""
    protocol = in_train_protocol(model, train)
    if config.protocol == "txl":
        size = "large" if model.d_model >= 1024 else "base"
        if (train.dataset, size) not in TXL_LENGTHS or not model.n_cached:
            raise UsageError(
                "protocol txl is for models with a cache on wt103, enwik8 and text8, not for "
                f"{model.model} on {train.dataset}"
            )
        tgt_len, cache_len, clamp_len = TXL_LENGTHS[train.dataset, size]
        lengths = {model.cache_option: cache_len, "clamp_len": clamp_len, "same_length": True}
        protocol = replace(protocol, tgt_len=tgt_len, lengths=lengths)

    lengths = dict(protocol.lengths)
    for name in ("mem_len", "cache_len"):
        length, own = getattr(config, name), getattr(model, name)
        if length >= 0 and name == model.cache_option:
            lengths[name] = length
        elif length not in (-1, own):
            raise UsageError(
                f"this run was trained with {name} {own}, which its weights depend on: leave "
                f"{name} out"
            )
    if config.clamp_len:
        lengths["clamp_len"] = config.clamp_len
    if config.same_length:
        lengths["same_length"] = True
    replace(model, **lengths)  # raises UsageError for lengths that can't be
    return replace(
        protocol,
        tgt_len=config.tgt_len or protocol.tgt_len,
        batch_size=config.batch_size or protocol.batch_size,
        lengths=lengths,
        max_segments=config.max_eval_steps,
    )


if __name__ == "__main__":
    run_program(main)
