"""Train a model segment by segment, on text or on an algorithmic task: python -m rmt.train --help.

From options to a test score: data -> model -> training -> the best checkpoint's score on the
test split, kept in the run folder's result.json.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from rmt.data.tasks.tasks import load_task
from rmt.evaluation.text import in_train_protocol
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.options.command_line import Parser, pick
from rmt.options.config import TASKS, ModelConfig, TaskConfig, TrainConfig, check_together
from rmt.runs import checkpoint
from rmt.runs.run_folder import RunFolder, environment
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.interruption import Interrupted, Interruption
from rmt.runtime.machine import peak_memory
from rmt.runtime.precision import has_bf16
from rmt.runtime.progress import Progress
from rmt.training.recipes import recipe_for
from rmt.training.resume import changed_settings, choose_work_dir, find_checkpoint
from rmt.training.trainer import Trainer
from rmt.training.workloads import (
    AlgorithmicTask,
    LanguageModelling,
    Scores,
    in_segments,
    load_text,
)

Data = TypeVar("Data")


def main(argv: list[str]) -> int:
    options = parse(argv)
    config, task = configurations(options)
    # All that can be said before the data is read, with a vocabulary that fits any cutoffs.
    n_token = 1 + max([0, *options.get("cutoffs", [])])
    check_together(ModelConfig(n_token=n_token, **pick(ModelConfig, options)), config)
    try:
        device = distributed.start(config.cuda)
        check_processes(config)
        model_config, workload = load(config, task, options)
        workload.check()
        work_dir = None if config.debug else choose_work_dir(model_config, config, task)
        found = find_checkpoint(model_config, config, workload.fingerprint, work_dir)

        torch.manual_seed(config.seed)
        model = MemTransformerLM(model_config).to(device)
        if config.compile:
            model.compile()
        # The weights are the same in all processes; their dropout masks are not.
        torch.manual_seed(config.seed + distributed.rank())
        trainer = Trainer(model, model_config, config, workload, device)
        if found:
            trainer.restore(found)
            trainer.about["changed"] = changed_settings(found, model_config, config)
        return train(trainer, model_config, config, task, work_dir, found)
    finally:
        distributed.stop()


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.train", description=__doc__.splitlines()[0])
    parser.add_options(ModelConfig)
    parser.add_options(TrainConfig)
    parser.add_options(TaskConfig)
    parser.add_argument("--fp16", action="store_true", help="the same as --precision fp16")
    options = parser.parse(argv)
    if options.pop("fp16") and options.setdefault("precision", "fp16") != "fp16":
        raise UsageError(f"--fp16 contradicts --precision {options['precision']}: leave one out")
    if options.get("dataset") in TASKS:
        if bool(options.get("segments")) == ("tgt_len" in options):
            raise UsageError(
                "say how the samples are cut, with either --segments (their number) or --tgt_len "
                "(their length)"
            )
        # As the published code; Figure 4 of the paper says otherwise (docs/differences.md).
        options.setdefault("bptt_unrolls", -1)
    return options | recipe_for(options)


def configurations(options: dict) -> tuple[TrainConfig, TaskConfig]:
    """What parse returned as objects, with the segment length of a task's samples."""
    config = TrainConfig(**pick(TrainConfig, options))
    task = TaskConfig.of(config.dataset, pick(TaskConfig, options))
    return (in_segments(config, task) if config.is_task else config), task


def load(
    config: TrainConfig, task: TaskConfig, options: dict
) -> tuple[ModelConfig, LanguageModelling | AlgorithmicTask]:
    """Read the data and complete the model's options with what they depend on."""
    chosen, progress = pick(ModelConfig, options), distributed.is_main()
    if config.is_task:
        data = first_rank_first(
            lambda: load_task(config.dataset, task, config.encoded_dir or None, progress)
        )
        model_config = ModelConfig(n_token=len(data.task.symbols), **chosen)
        return model_config, AlgorithmicTask(data, config)
    corpus = first_rank_first(lambda: load_text(config, progress=progress))
    if config.adaptive:
        chosen.setdefault("cutoffs", corpus.cutoffs)
    model_config = ModelConfig(n_token=len(corpus.vocabulary), **chosen)
    protocol = in_train_protocol(model_config, config)
    replace(model_config, **protocol.lengths)  # raises UsageError for lengths that can't be
    return model_config, LanguageModelling(corpus, config, protocol)


def first_rank_first(load: Callable[[], Data]) -> Data:
    """load() in every process; the first one goes before, so that it alone writes files."""
    data, error = None, None
    if distributed.is_main():
        try:
            data = load()
        except UsageError as wrong:
            error = wrong
    # All of them must leave together; the first one says why.
    if distributed.any_rank(error is not None):
        raise error or UsageError("the first process could not read the data")
    return data or load()


def check_processes(config: TrainConfig) -> None:
    """Raise UsageError unless the batch can be shared out evenly."""
    n_processes = distributed.world_size()
    if config.multi_gpu and "WORLD_SIZE" not in os.environ:
        raise UsageError(
            "--multi_gpu needs one process per GPU: use the run scripts, or start this with "
            "torchrun --nproc_per_node=GPUS -m rmt.train"
        )
    if config.batch_size % n_processes:
        raise UsageError(
            f"batch_size {config.batch_size} does not divide among {n_processes} processes: "
            "choose a multiple"
        )
    share = config.batch_size // n_processes
    if share % config.batch_chunk:
        raise UsageError(
            f"the {share} streams of each process do not divide into {config.batch_chunk} chunks: "
            "choose another batch_chunk"
        )


def train(
    trainer: Trainer,
    model_config: ModelConfig,
    config: TrainConfig,
    task: TaskConfig,
    work_dir: Path | None,
    found: checkpoint.Checkpoint | None,
) -> int:
    """Run the trainer in its folder and, at the end, score the best checkpoint on the test set.

    found: the checkpoint that the trainer goes on from.
    Returns the exit status: 0, or 128 + the number of the signal that ended it early.
    """
    is_main = distributed.is_main()
    folder = RunFolder(work_dir if is_main else None, printing=is_main)
    settings = {"model": asdict(model_config), "train": config.recorded()}
    if config.is_task:
        settings["task"] = task.belonging_to(config.dataset)
    about = {"changed": trainer.about["changed"]} if trainer.about.get("changed") else {}
    sizes = {
        "n_all_param": trainer.model.n_parameters(),
        "n_nonemb_param": trainer.model.n_layer_parameters(),
    }
    folder.remove("result.json")  # of the run before it was continued
    folder.write_json("config.json", settings | about | sizes | environment())
    folder.forget_after(trainer.step)
    if found and config.restart_dir:
        if folder.path:
            checkpoint.adopt(found, folder.path)
        distributed.barrier()  # others may test the best at once
    rule = "=" * 100
    folder.log(rule)
    for options in settings.values():
        for name, value in options.items():
            folder.log(f"    - {name} : {value}")
    folder.log(f"#params = {sizes['n_all_param']}")
    folder.log(f"#non emb params = {sizes['n_nonemb_param']}")
    folder.log(rule)
    if trainer.step:
        folder.log(f"| continuing after step {trainer.step}")

    progress = Progress(
        config.max_step, "training", initial=trainer.step, shown=is_main, unit="step"
    )
    with Interruption() as interruption, progress:
        folder.progress = progress
        test_scores = None
        if trainer.run(folder, progress, interruption):
            with suppress(Interrupted):  # all is saved; a restart goes straight to the test
                test_step, test_scores = test(trainer, work_dir, interruption)
        folder.progress = None
    if test_scores is None:
        folder.log(f"| interrupted after step {trainer.step}, saved: continue with --restart")
    else:
        folder.log(rule)
        folder.log(f"| End of training | test {trainer.workload.readable(test_scores)}")
        folder.log(rule)
        folder.record("test", trainer.step, **test_scores)
        result = summary(trainer, model_config, config, test_step, test_scores)
        if config.is_task:
            result |= task.belonging_to(config.dataset)
        folder.write_json("result.json", result | sizes | environment())
    folder.close()
    # Of several processes torchrun would take the first that ends by a signal for a failure of all.
    if test_scores is None and distributed.world_size() == 1:
        return 128 + interruption.number
    return 0


def test(trainer: Trainer, work_dir: Path | None, interruption: Interruption) -> tuple[int, Scores]:
    """Score the best checkpoint on the test split; returns its step and its scores."""
    step = trainer.step
    if work_dir:
        best = checkpoint.find_best(work_dir)
        best.load_model(trainer.model)
        step = best.step
    return step, trainer.score("test", interruption)


def summary(
    trainer: Trainer,
    model: ModelConfig,
    config: TrainConfig,
    test_step: int,
    test_scores: Scores,
) -> dict:
    """What result.json says beside sizes and versions: settings, cost and scores."""
    if trainer.device.type == "cuda":
        device = torch.cuda.get_device_name(trainer.device)
    else:
        device = f"CPU, {torch.get_num_threads()} threads"
        if config.precision == "bf16" and not has_bf16():
            device += ", bf16 multiplied in fp32"
    return {
        "dataset": config.dataset,
        "data": config.recorded()["data"],
        "corpus": trainer.workload.fingerprint,
        "n_token": model.n_token,
        **{name: getattr(model, name) for name in ("model", "mem_len", "cache_len")},
        **{name: getattr(model, name) for name in ("n_layer", "d_model", "n_head", "d_inner")},
        **{name: getattr(config, name) for name in ("tgt_len", "batch_size", "bptt_unrolls")},
        **{name: getattr(config, name) for name in ("bptt_mode", "seed", "precision")},
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "seconds": round(trainer.seconds, 1),
        "tokens_per_s": round(trainer.tokens / trainer.seconds, 1),
        "peak_memory_bytes": peak_memory(trainer.device),
        "device": device,
        "processes": distributed.world_size(),
        "n_nonfinite": trainer.n_nonfinite,
        "eval_protocol": trainer.workload.describe(),
        "best_step": trainer.best_step,
        "valid_loss": trainer.best_scores["loss"],
        "test_step": test_step,
        **trainer.workload.result(test_scores),
    }


if __name__ == "__main__":
    run_program(main)
