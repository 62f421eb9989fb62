"""One case of the benchmark: training steps of a model on made-up data, measured."""

import datetime
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from rmt.benchmark.cases import Case
from rmt.benchmark.kernels import kernels
from rmt.benchmark.rates import matrix_rate
from rmt.benchmark.time_split import part, time_split
from rmt.data.metrics import PERPLEXITY
from rmt.data.tasks.task import TaskData
from rmt.data.text.corpora import Corpus
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.text import in_train_protocol
from rmt.evaluation.workloads import AlgorithmicTask, LanguageModelling, Workload
from rmt.models.options import ModelOptions
from rmt.models.transformer_xl.operations import word_frequencies
from rmt.options.schedule import SEQUENTIAL
from rmt.options.training import EAGER, TrainConfig
from rmt.runs.run_folder import environment
from rmt.runtime.device import forget_peak_memory, machine, peak_memory, wait_for
from rmt.runtime.errors import ProcessKilled
from rmt.runtime.machine import ALLOCATORS
from rmt.runtime.precision import DTYPES
from rmt.runtime.progress import Progress
from rmt.training.captured import N_ALIKE
from rmt.training.cost import layer_operations, segments_per_step
from rmt.training.trainer import Trainer

Found = TypeVar("Found")


def measure(case: Case) -> dict:
    """Time training steps in this process, which should be new: peak memory is the process's.

    Against another case, its steps alternate with those of this one. Times are in seconds, memory
    in bytes, rates in operations per second.
    """
    device = torch.device("cuda" if case.train.cuda else "cpu")
    forget_peak_memory(device)
    trainer = trainer_for(case, device)
    n_segments, _ = segments_per_step(case.train)
    _mark(trainer)
    step = _stepper(trainer)
    for _ in range(_n_warmup(case)):
        step()
    wait_for(device)
    memory = peak_memory(device)

    rates = {dtype: [matrix_rate(dtype, device)] for dtype in _dtypes(case)}
    other = _other(case, device) if case.against else None
    other_step = _stepper(other) if other else None
    for _ in range(_n_warmup(case) if other else 0):
        other_step()
    times, other_times = [], []
    for _ in range(case.steps):
        times.append(_timed(step, device))
        if other:
            other_times.append(_timed(other_step, device))
    for dtype, found in rates.items():
        found.append(matrix_rate(dtype, device))
    fp32_rate, own_rate = (statistics.mean(rates[dtype]) for dtype in _dtypes(case))

    seconds = statistics.median(times)
    flops = layer_operations(case.model, case.train)
    n_tokens = case.train.batch_size * case.train.tgt_len * n_segments
    result = {
        "name": case.name,
        "model": {k: v for k, v in asdict(case.model).items() if k != "n_token"},
        "n_token": case.model.n_token,
        "train": case.train.recorded(),
        "step_form": trainer.step.form,
        "n_all_param": trainer.model.n_parameters(),
        "steps": case.steps,
        "segments_per_step": n_segments,
        "seconds_per_step": seconds,
        "fastest": min(times),
        "slowest": max(times),
        "tokens_per_s": n_tokens / seconds,
        "layer_flops_per_step": flops,
        "fp32_matrix_rate": fp32_rate,
        "matrix_rate": own_rate,
        # Of models whose operations nobody has counted there are none.
        "units": seconds * fp32_rate / flops if flops else None,
        "utilization": flops / seconds / own_rate if flops else None,
        "peak_memory_bytes": memory,
    }
    if device.type == "cuda":
        result["kernels"] = kernels(step, device)
    if trainer.step.form == EAGER:  # marks would make layers be compiled anew, and graphs have none
        result["split"] = time_split(trainer.model, step, device)
    if other:
        # Tokens of a step, in terms of the other's.
        per_step = n_segments / segments_per_step(other.config)[0]
        ratios = [per_step * b / a for a, b in zip(times, other_times, strict=True)]
        result[case.against] = {
            "seconds_per_step": statistics.median(other_times),
            "ratio": statistics.median(ratios),
            "lowest_ratio": min(ratios),
            "highest_ratio": max(ratios),
        }
    return result


def in_new_process(
    function: Callable[..., Found], *arguments, seconds: float | None = None
) -> Found:
    """function(*arguments) in a process of its own, for at most so many seconds.

    Raises ProcessKilled if it took longer, or was killed.
    """
    fresh, started = multiprocessing.get_context("spawn"), time.monotonic()
    begin = partial(_begin_measuring, seconds)
    with ProcessPoolExecutor(1, mp_context=fresh, initializer=begin) as pool:
        try:
            # The process inherits that Ctrl-C waits, for seconds in which it imports PyTorch.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                future = pool.submit(function, *arguments)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return future.result()
        except BrokenProcessPool:
            if seconds is not None and time.monotonic() - started >= seconds:
                raise ProcessKilled(f"stopped, for it took longer than {seconds:g} s") from None
            raise ProcessKilled(
                "the process that measures was killed: most likely it ran out of memory"
            ) from None


def why(error: Exception) -> str:
    """What went wrong, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _begin_measuring(seconds: float | None) -> None:
    """End at a Ctrl-C, and after so many seconds, without a word: the process that waits for the
    result has one. By the system's alarm, for a compiler or a driver that hangs runs no Python."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def new_report(device: torch.device) -> dict:
    """What stands around the results of a measurement, which is made with the ALLOCATORS."""
    for name, value in ALLOCATORS.items():  # for the processes that measure
        os.environ.setdefault(name, value)
    today = datetime.date.today().isoformat()
    return {"date": today, "machine": machine(device), **environment(), "results": []}


# --- what is trained -----------------------------------------------------------------------------


def trainer_for(
    case: Case, device: torch.device, plain: bool = False, compiles: bool = True
) -> Trainer:
    """What trains a case's model on made-up data.

    compiles: whether a captured step compiles the layers, as it does elsewhere.
    """
    torch.manual_seed(case.train.seed)
    entry = case.settings.entry
    model = (entry.build_plain if plain else entry.build)(case.model).to(device)
    model.set_schedule(SEQUENTIAL if plain else case.train.order)
    if not compiles:
        model.compile = lambda: None
    if case.train.compile and not plain:
        model.compile()
    return Trainer(model, case.train, _workload(case), device)


def _other(case: Case, device: torch.device) -> Trainer:
    """What a case is measured against."""
    plain = case.against == "plain"
    changes = {"precision": "fp32"} if plain else {"bptt_mode": "replay"}
    settings = replace(case.settings, train=replace(case.train, **changes))
    return trainer_for(replace(case, settings=settings), device, plain)


def _workload(case: Case) -> Workload:
    if case.settings.task is not None:
        task = case.settings.dataset.make(case.settings.task)
        random = np.random.default_rng(case.train.seed)
        samples = task.generate(random, max(8, case.steps) * case.train.batch_size)
        return AlgorithmicTask(TaskData(task, "made up", {"train": samples}), case.train)
    n_steps = 2 * _n_warmup(case) + case.steps + 4
    n_segments = n_steps * (case.train.bptt_unrolls + 1) + 1
    n_ids = case.train.batch_size * (case.train.tgt_len * n_segments + 1)
    return made_up_text(case.model, case.train, n_ids)


def zipf_ids(random: np.random.Generator, n_token: int, n_ids: int) -> np.ndarray:
    """Ids as frequent as words are, about: int32 [n_ids]."""
    return random.choice(n_token, n_ids, p=word_frequencies(n_token)).astype(np.int32)


def made_up_text(model: ModelOptions, train: TrainConfig, n_ids: int) -> LanguageModelling:
    """A training split of this length."""
    splits = {"train": zipf_ids(np.random.default_rng(train.seed), model.n_token, n_ids)}
    corpus = Corpus(train.dataset, "made up", Vocabulary(()), splits, PERPLEXITY, ())
    return LanguageModelling(corpus, train, in_train_protocol(model, train))


def _dtypes(case: Case) -> tuple[torch.dtype, torch.dtype]:
    """fp32 and the precision of the case."""
    return torch.float32, DTYPES.get(case.train.precision, torch.float32)


# --- stopwatch -----------------------------------------------------------------------------------


def _n_warmup(case: Case) -> int:
    """Steps until every step replays as many segments as the next, and one more.

    On a GPU also until they are captured, if they are.
    """
    n_replayed = max(0, case.train.bptt_unrolls)
    return n_replayed + (N_ALIKE + 4 if case.train.cuda else 3)


def _mark(trainer: Trainer) -> None:
    """Mark what time_split can't see in the model."""
    trainer.reader.next = part("data")(trainer.reader.next)
    trainer.step.update = part("optimizer")(trainer.step.update)


def _stepper(trainer: Trainer):
    progress = Progress(1, "", shown=False)
    return lambda: trainer.train_step(progress)


def _timed(step, device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - started
