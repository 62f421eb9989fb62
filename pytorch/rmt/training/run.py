"""One training run from its settings to a test score: data -> model -> training -> the best
checkpoint's score on the test split, kept in the run folder's result.json.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from rmt.evaluation.workloads import Scores, load_workload
from rmt.models.contract import SegmentModel
from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.run_folder import RunFolder, environment
from rmt.runs.settings import Settings, check_gradient
from rmt.runtime import distributed
from rmt.runtime.device import peak_memory
from rmt.runtime.errors import UsageError
from rmt.runtime.interruption import Interrupted, Interruption
from rmt.runtime.precision import has_bf16
from rmt.runtime.progress import Progress
from rmt.training.expected_time import expected_time
from rmt.training.resume import (
    beginning_of,
    changed_settings,
    check_same_run,
    choose_work_dir,
    find_checkpoint,
    inherited_vocabulary,
)
from rmt.training.trainer import Trainer
from rmt.training.warm_start import begin_with, find_source, readable

Data = TypeVar("Data")
RULE = "=" * 100
BEGAN_WITH = "began_with"  # what a run's records say of the weights that it was given at first


def train(settings: Settings) -> int:
    """Train to the end, or until a signal comes; go on from a checkpoint if that is asked for.

    Returns the exit status: 0, or 128 + the number of the signal that ended it early.
    """
    config = settings.train
    try:
        device = distributed.start(config.cuda)
        check_processes(config)
        progress = distributed.is_main()
        work_dir = None
        if not config.debug:
            work_dir = choose_work_dir(settings, settings.model_before_data())
        found, source, inherited = find_checkpoint(config, work_dir), None, None
        if found:
            inherited = inherited_vocabulary(found, config, work_dir)
        elif config.init_from:
            source = first_rank_first(lambda: find_source(Path(config.init_from)))
            inherited = source.inherited
        model_options, workload = first_rank_first(
            lambda: load_workload(settings, inherited=inherited, progress=progress)
        )
        workload.check_training()
        if found:
            check_same_run(found, model_options, config, workload.fingerprint)
            config = beginning_of(found, config)
            settings = replace(settings, train=config)
        elif source:
            source.check_vocabulary(workload.vocabulary)
        model = build(settings, model_options, device)
        began_with = begin_with(source, model) if source else None
        trainer = Trainer(model, config, workload, device)
        if found:
            trainer.restore(found)
            trainer.about["changed"] = changed_settings(found, model_options, config)
            began_with = found.manifest.get(BEGAN_WITH)
        if began_with:
            trainer.about[BEGAN_WITH] = began_with
        return train_in_folder(trainer, settings, work_dir, found)
    finally:
        distributed.stop()


def build(settings: Settings, options: ModelOptions, device: torch.device) -> SegmentModel:
    """The model with its first weights, the same in all processes."""
    torch.manual_seed(settings.train.seed)
    model = settings.entry.build(options).to(device)
    check_gradient(options.model, model.carries, settings.train)
    model.set_schedule(settings.train.order)
    model.check_segment(max(settings.train.tgt_len, settings.train.n_eval))
    if settings.train.compile:
        model.compile()
    # The weights are the same in all processes; their dropout masks are not.
    torch.manual_seed(settings.train.seed + distributed.rank())
    return model


def first_rank_first(load: Callable[[], Data]) -> Data:
    """load() in every process; the first one goes before, so that it alone writes files."""
    data = distributed.by_main(load)
    return distributed.together(lambda: data or load())


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


def train_in_folder(
    trainer: Trainer,
    settings: Settings,
    work_dir: Path | None,
    found: checkpoint.Checkpoint | None,
) -> int:
    """Run the trainer in its folder and, at the end, score the best checkpoint on the test set.

    found: the checkpoint that the trainer goes on from. Returns the exit status, as train.
    """
    is_main, config = distributed.is_main(), settings.train
    folder = distributed.together(
        lambda: RunFolder(work_dir if is_main else None, printing=is_main)
    )
    distributed.by_main(lambda: start_files(folder, trainer, settings))
    if config.tell_time:
        folder.log(expected_time(trainer))
    if found:
        settle_best(trainer, folder, found)

    progress = Progress(
        config.max_step, "training", initial=trainer.place.step, shown=is_main, unit="step"
    )
    with Interruption(distributed.any_rank) as interruption, progress:
        folder.progress = progress
        test_scores = None
        if trainer.run(folder, progress, interruption):
            with suppress(Interrupted):  # all is saved; a restart goes straight to the test
                test_step, test_scores = test(trainer, work_dir, interruption)
        folder.progress = None
    if test_scores is None:
        step = trainer.place.step
        folder.log(f"| interrupted after step {step}, saved: continue with --restart")
    else:
        folder.log(RULE)
        folder.log(f"| End of training | test {trainer.workload.readable(test_scores)}")
        folder.log(RULE)
        folder.record("test", trainer.place.step, **test_scores)
        folder.write_json("result.json", result(trainer, settings, test_step, test_scores))
    folder.close()
    # Of several processes torchrun would take the first that ends by a signal for a failure of all.
    if test_scores is None and distributed.world_size() == 1:
        return 128 + interruption.number
    return 0


def settle_best(trainer: Trainer, folder: RunFolder, found: checkpoint.Checkpoint) -> None:
    """Have the best checkpoint in the folder that the trainer takes for the best, or none."""
    best_step = trainer.place.best_step

    def is_lost() -> bool:
        if not folder.path:
            return False
        if trainer.config.restart_dir:
            checkpoint.adopt(found, folder.path, best_step)
        return best_step > 0 and not checkpoint.point_to_best(folder.path, best_step)

    if distributed.any_rank(bool(distributed.by_main(is_lost))):
        folder.log(f"| the best checkpoint, of step {best_step}, is gone: the best is chosen anew")
        trainer.forget_best()
        if folder.path and trainer.place.best_step:
            checkpoint.point_to_best(folder.path, trainer.place.best_step)


def start_files(folder: RunFolder, trainer: Trainer, settings: Settings) -> None:
    """What a run's folder holds before its first step, and the first lines of its log."""
    record = settings.record(trainer.model.config)
    told = {name: trainer.about.get(name) for name in ("changed", BEGAN_WITH)}
    about = {name: value for name, value in told.items() if value}
    folder.remove("result.json")  # of the run before it was continued
    folder.write_json("config.json", record | about | sizes(trainer.model) | environment())
    folder.write_vocabulary(trainer.workload.vocabulary)
    folder.keep(files_to_keep(trainer, settings))
    folder.forget_after(trainer.place.step)
    folder.log(RULE)
    for options in record.values():
        for name, value in options.items():
            folder.log(f"    - {name} : {value}")
    folder.log(f"#params = {trainer.model.n_parameters()}")
    folder.log(f"#non emb params = {trainer.model.n_layer_parameters()}")
    folder.log(RULE)
    if settings.train.adaptive and not getattr(trainer.model.config, "cutoffs", ()):
        folder.log(
            f"| --adaptive changes nothing: of {trainer.model.config.n_token:,} different tokens "
            "none is beyond the first cutoff"
        )
    for line in trainer.workload.about_data():
        folder.log(line)
    for line in readable(about.get(BEGAN_WITH)) if BEGAN_WITH in about else ():
        folder.log(line)
    if trainer.place.step:
        folder.log(f"| continuing after step {trainer.place.step}")


def files_to_keep(trainer: Trainer, settings: Settings) -> dict[str, bytes]:
    """What the model and the tokens of its text are made of beside options and weights."""
    files = {name: content.encode() for name, content in trainer.model.files().items()}
    return files | {name: path.read_bytes() for name, path in settings.tokenizer_files.items()}


def sizes(model: SegmentModel) -> dict:
    return {
        "n_all_param": model.n_parameters(),
        "n_nonemb_param": model.n_layer_parameters(),
    }


def test(trainer: Trainer, work_dir: Path | None, interruption: Interruption) -> tuple[int, Scores]:
    """Score the best checkpoint on the test split; returns its step and its scores."""
    step = trainer.place.step
    if work_dir:
        best = checkpoint.find_best(work_dir)
        best.load_model(trainer.model)
        step = best.step
    return step, trainer.score("test", interruption)


def result(trainer: Trainer, settings: Settings, test_step: int, test_scores: Scores) -> dict:
    """What result.json says: settings, cost, scores, sizes and versions."""
    model, config, place = trainer.model, settings.train, trainer.place
    recorded = config.recorded()
    return {
        "dataset": config.dataset,
        "data": recorded["data"],
        "corpus": trainer.workload.fingerprint,
        "n_token": model.config.n_token,
        **model.config.in_result(),
        "n_carried": model.carries.numbers,
        "carries_gradient": model.carries.gradient,
        "tgt_len": config.tgt_len,
        "batch_size": config.batch_size,
        "bptt_unrolls": config.bptt_unrolls,
        "bptt_mode": config.bptt_mode,
        "seed": config.seed,
        "precision": config.precision,
        "steps": place.step,
        "tokens": place.tokens,
        "seconds": round(place.seconds, 1),
        "tokens_per_s": round(place.tokens / place.seconds, 1),
        "peak_memory_bytes": peak_memory(trainer.device),
        "device": device_name(trainer.device, config.precision),
        "step_form": trainer.step.form,
        "processes": distributed.world_size(),
        "n_nonfinite": place.n_nonfinite,
        "eval_protocol": trainer.workload.describe(),
        "best_step": place.best_step,
        "valid_loss": place.best_scores["loss"],
        "test_step": test_step,
        **trainer.workload.result(test_scores),
        **(settings.task.recorded() if settings.task else {}),
        **({BEGAN_WITH: trainer.about[BEGAN_WITH]} if BEGAN_WITH in trainer.about else {}),
        **sizes(model),
        **environment(),
    }


def device_name(device: torch.device, precision: str) -> str:
    """For people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = f"CPU, {torch.get_num_threads()} threads"
    return f"{name}, bf16 multiplied in fp32" if precision == "bf16" and not has_bf16() else name
