"""One case of the benchmark: training steps of a model on made-up data, measured."""

import datetime
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from rmt.benchmark.time_split import part, time_split
from rmt.data.tasks.tasks import TaskData, make_task
from rmt.data.text.corpora import Corpus
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.text import in_train_protocol
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.operations import matrix_rate, step_flops, word_frequencies
from rmt.models.transformer_xl.plain import PlainModel
from rmt.options.config import ModelConfig, TaskConfig, TrainConfig
from rmt.runs.run_folder import environment
from rmt.runtime.errors import ProcessKilled
from rmt.runtime.machine import ALLOCATORS, machine, peak_memory, wait_for
from rmt.runtime.precision import DTYPES
from rmt.runtime.progress import Progress
from rmt.training.trainer import Trainer
from rmt.training.workloads import AlgorithmicTask, LanguageModelling, Workload


@dataclass(frozen=True)
class Case:
    """What is measured. task: the samples of an algorithmic task; steps: how many are timed.

    against: "plain", the plain model in fp32; "replay", the same with bptt_mode replay; or None.
    """

    name: str
    model: ModelConfig
    train: TrainConfig
    task: TaskConfig | None = None
    steps: int = 10
    against: str | None = None


def measure(case: Case) -> dict:
    """Time training steps in this process, which should be new: peak memory is the process's.

    Against another case, its steps alternate with those of this one. Times are in seconds, memory
    in bytes, rates in operations per second.
    """
    device = torch.device("cuda" if case.train.cuda else "cpu")
    trainer = _trainer(case, MemTransformerLM, device)
    n_segments = trainer.chunks[0].segments_per_step
    n_computed = n_segments  # with those that are replayed
    if case.train.bptt_mode == "replay":
        n_computed += max(0, case.train.bptt_unrolls)
    _mark(trainer)
    step = _stepper(trainer)
    for _ in range(_n_warmup(case)):
        step()
    memory = peak_memory(device)

    rates = {dtype: [matrix_rate(dtype, device)] for dtype in _dtypes(case)}
    other = _trainer(*_other(case), device) if case.against else None
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
    flops = step_flops(case.model, case.train, n_computed)
    n_tokens = case.train.batch_size * case.train.tgt_len * n_segments
    result = {
        "name": case.name,
        "model": {k: v for k, v in asdict(case.model).items() if k != "n_token"},
        "n_token": case.model.n_token,
        "train": case.train.recorded(),
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
        "units": seconds * fp32_rate / flops,
        "utilization": flops / seconds / own_rate,
        "peak_memory_bytes": memory,
    }
    if not case.train.compile:  # its marks would make the layers be compiled anew
        result["split"] = time_split(trainer.model, step, device)
    if other:
        per_step = n_segments / other.chunks[0].segments_per_step  # tokens, in terms of the other's
        ratios = [per_step * b / a for a, b in zip(times, other_times, strict=True)]
        result[case.against] = {
            "seconds_per_step": statistics.median(other_times),
            "ratio": statistics.median(ratios),
            "lowest_ratio": min(ratios),
            "highest_ratio": max(ratios),
        }
    return result


def in_new_process(function: Callable[..., dict], *arguments) -> dict:
    """function(*arguments) in a process of its own. Raises ProcessKilled if that was."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise ProcessKilled(
                "the process that measures was killed: most likely it ran out of memory"
            ) from None


def new_report(device: torch.device) -> dict:
    """What stands around the results of a measurement, which is made with the ALLOCATORS."""
    for name, value in ALLOCATORS.items():  # for the processes that measure
        os.environ.setdefault(name, value)
    today = datetime.date.today().isoformat()
    return {"date": today, "machine": machine(device), **environment(), "results": []}


# --- what is trained -----------------------------------------------------------------------------


def _trainer(case: Case, model_class: type, device: torch.device) -> Trainer:
    torch.manual_seed(case.train.seed)
    model = model_class(case.model).to(device)
    if case.train.compile and model_class is MemTransformerLM:
        model.compile()
    return Trainer(model, case.model, case.train, _workload(case), device)


def _workload(case: Case) -> Workload:
    if case.task is not None:
        task = make_task(case.train.dataset, case.task)
        random = np.random.default_rng(case.train.seed)
        samples = task.generate(random, 8 * case.train.batch_size)
        return AlgorithmicTask(TaskData(task, "made up", {"train": samples}), case.train)
    n_steps = 2 * _n_warmup(case) + case.steps + 2
    n_segments = n_steps * (case.train.bptt_unrolls + 1) + 1
    n_ids = case.train.batch_size * (case.train.tgt_len * n_segments + 1)
    return made_up_text(case.model, case.train, n_ids)


def made_up_text(model: ModelConfig, train: TrainConfig, n_ids: int) -> LanguageModelling:
    """A training split of this length."""
    splits = {"train": zipf_ids(np.random.default_rng(train.seed), model.n_token, n_ids)}
    corpus = Corpus(train.dataset, "made up", Vocabulary(()), splits, True, model.cutoffs)
    return LanguageModelling(corpus, train, in_train_protocol(model, train))


def zipf_ids(random: np.random.Generator, n_token: int, n_ids: int) -> np.ndarray:
    """Ids as frequent as words are, about: int32 [n_ids]."""
    return random.choice(n_token, n_ids, p=word_frequencies(n_token)).astype(np.int32)


def _other(case: Case) -> tuple[Case, type]:
    """What a case is measured against."""
    if case.against == "plain":
        return replace(case, train=replace(case.train, precision="fp32")), PlainModel
    return replace(case, train=replace(case.train, bptt_mode="replay")), MemTransformerLM


def _dtypes(case: Case) -> tuple[torch.dtype, torch.dtype]:
    """fp32 and the precision of the case."""
    return torch.float32, DTYPES.get(case.train.precision, torch.float32)


# --- stopwatch -----------------------------------------------------------------------------------


def _n_warmup(case: Case) -> int:
    """Steps until every step replays as many segments as the next, and one more."""
    return max(0, case.train.bptt_unrolls) + 3


def _mark(trainer: Trainer) -> None:
    """Mark what time_split can't see in the model."""
    trainer.reader.next = part("data")(trainer.reader.next)
    trainer.update_weights = part("optimizer")(trainer.update_weights)


def _stepper(trainer: Trainer):
    progress = Progress(1, "", shown=False)
    return lambda: trainer.train_step(progress)


def _timed(step, device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - started
