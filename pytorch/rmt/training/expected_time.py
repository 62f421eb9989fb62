"""How long a run will take, said before it starts, by some of its own steps."""

import time

import torch

from rmt.evaluation.workloads import LanguageModelling, Scoring
from rmt.options.training import TrainConfig
from rmt.runtime.device import wait_for
from rmt.training.trainer import Trainer

N_TIMED = 3  # steps
N_SCORED = 2  # segments


def expected_time(trainer: Trainer) -> str:
    """A sentence for the log.

    Of a new run, by forward and backward passes over its first segments, which change nothing: no
    weight, no random number and no place in the text. Of one that goes on, by its steps so far. In
    a curriculum of segments a step takes as long as it has segments.
    """
    config, place = trainer.config, trainer.place
    n_left = config.max_step - place.step
    to_compute = n_segments(config, place.step, config.max_step)
    if place.step:
        seconds = place.seconds / n_segments(config, 0, place.step) * to_compute
        origin = f"the {place.step:,} steps so far"
    else:
        seconds = seconds_per_step(trainer) / (config.bptt_unrolls + 1) * to_compute
        origin = f"{N_TIMED} steps timed just now, without the optimizer's part"
    evaluating = seconds_of_evaluations(trainer, n_left)
    return (
        f"| expected: about {readable(seconds + evaluating)}, of which {readable(evaluating)} for "
        f"evaluations: {n_left:,} steps of {seconds / max(1, n_left):.3g} s, by {origin}"
    )


def n_segments(config: TrainConfig, first: int, end: int) -> int:
    """How many the steps from first to end (exclusive) compute, each with those before it."""
    firsts = [first_of_stage for first_of_stage, _ in config.stages]
    ends = [*firsts[1:], config.max_step]
    steps = [max(0, min(end, b) - max(first, a)) for a, b in zip(firsts, ends, strict=True)]
    return sum(n * (unrolls + 1) for n, (_, unrolls) in zip(steps, config.stages, strict=True))


def seconds_per_step(trainer: Trainer) -> float:
    """Of the passes of one optimizer step, as it is when there is all to replay that can be."""
    step, device = trainer.step, trainer.device
    devices = [device] if device.type == "cuda" else []
    reader = trainer.workload.reader()
    n_replayed = trainer.config.bptt_unrolls if trainer.config.bptt_mode == "replay" else 0
    times = []
    with torch.random.fork_rng(devices):
        for _ in range(n_replayed + 1 + N_TIMED):
            update = reader.next(step.segments_per_step)
            if update.starts_streams:
                step.restart_streams()
            rooms = step.rooms(update)
            wait_for(device)
            started = time.perf_counter()
            step.accumulate_gradients(step.sent(update), update.n_scored, rooms, update.begins)
            wait_for(device)
            times.append(time.perf_counter() - started)
    step.restart_streams()
    trainer.model.zero_grad(set_to_none=True)
    return sum(times[-N_TIMED:]) / N_TIMED


def seconds_of_evaluations(trainer: Trainer, n_steps: int) -> float:
    """Of those that come with so many steps, and of the test at the end."""
    config, workload = trainer.config, trainer.workload
    assert isinstance(workload, LanguageModelling)
    how = Scoring(trainer.device, config.precision)
    started = time.perf_counter()
    workload.score(trainer.model, "valid", how, N_SCORED)
    per_segment = (time.perf_counter() - started) / min(N_SCORED, workload.n_segments("valid"))
    n_valid = workload.n_segments("valid")
    if config.max_eval_steps > 0:
        n_valid = min(n_valid, config.max_eval_steps)
    n_evaluations = -(-n_steps // config.eval_interval)
    return per_segment * (n_evaluations * n_valid + workload.n_segments("test"))


def readable(seconds: float) -> str:
    """A time for people, in the largest unit of which there is about one."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return (
                f"{seconds / size:.0f} {unit}"
                if seconds >= 10 * size
                else f"{seconds / size:.1f} {unit}"
            )
    return f"{seconds:.0f} seconds"
