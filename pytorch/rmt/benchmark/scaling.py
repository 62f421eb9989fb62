"""How the cost grows: with the length of a stream, of a text, and with processes (rmt.scaling)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from rmt.benchmark.cases import NAMED
from rmt.benchmark.measure import in_new_process, made_up_text
from rmt.benchmark.schedules import schedules
from rmt.data.text.corpora import load_corpus
from rmt.data.text.pydoc import PYDOC
from rmt.data.text.wt103 import WT103
from rmt.evaluation.sampling import sample
from rmt.evaluation.text import evaluate
from rmt.evaluation.workloads import LanguageModelling
from rmt.models.contract import Decoder
from rmt.models.options import ModelOptions
from rmt.models.registry import build
from rmt.models.transformer_xl.operations import word_frequencies
from rmt.options.command_line import command_line
from rmt.runs.reports import markdown
from rmt.runs.settings import Settings
from rmt.runtime.device import peak_memory
from rmt.runtime.errors import UsageError
from rmt.runtime.files import SOURCE
from rmt.runtime.progress import Progress
from rmt.training.trainer import Trainer

CPU = torch.device("cpu")
SMALL = {
    "dataset": "enwik8",
    "tgt_len": 64,
    "batch_size": 8,
    "bptt_unrolls": 1,
    "mem_len": 10,
    "n_layer": 4,
    "d_model": 128,
    "n_head": 4,
    "d_head": 32,
    "d_inner": 512,
}
N_SYMBOLS = 204
N_WORDS = 100_000_000  # about as many as WikiText-103 has
N_TYPES = 267_735


# --- stream --------------------------------------------------------------------------------------


def stream(share: float) -> list[dict]:
    """Training on a few segments and on many, evaluation on a few tokens and on many."""
    few, tokens = max(1, round(60 * share)), max(2_000, round(10_000 * share))
    settings = Settings.of(SMALL)
    model, train = settings.model(N_SYMBOLS), settings.train
    n_streams, tgt_len = train.batch_size, train.tgt_len
    plans = [(train_steps, n_streams * (n * tgt_len + 1)) for n in (few, 10 * few)]
    plans += [(evaluate_tokens, n * tokens) for n in (1, 10, 100)]
    # The texts are made here, for that takes memory, too.
    return [in_new_process(run, model, made_up_text(model, train, n)) for run, n in plans]


def train_steps(options: ModelOptions, text: LanguageModelling) -> dict:
    """A step for each segment of the text, with gradient through the memory."""
    torch.manual_seed(0)
    trainer = Trainer(build(options), text.config, text, CPU)
    n_steps = len(text.corpus.splits["train"]) // text.config.batch_size // text.config.tgt_len
    progress = Progress(n_steps, "", shown=False)
    started = time.perf_counter()
    for _ in range(n_steps):
        trainer.train_step(progress)
    return _cost("training", trainer.place.tokens, "tokens", time.perf_counter() - started)


def evaluate_tokens(options: ModelOptions, text: LanguageModelling) -> dict:
    torch.manual_seed(0)
    model, ids = build(options), text.corpus.splits["train"]
    started = time.perf_counter()
    evaluate(model, ids, text.protocol)
    return _cost("evaluating", len(ids), "tokens", time.perf_counter() - started)


# --- generation ----------------------------------------------------------------------------------

SHORT, LONG = "4 layers, segments of 64", "enwik8 base, segments of 128"


def generation(share: float) -> list[dict]:
    """Tokens said one by one: few and many, and by what a decoder keeps against none of it."""
    few = max(64, round(10_000 * share))
    small, base = Settings.of(SMALL), Settings.of(_sizes("enwik8", tiny=share < 1))
    plans = [(small, n * few, True, SHORT) for n in (1, 10)]
    # Two segments: the second one has a memory.
    plans += [(base, 2 * base.train.tgt_len, keeps, LONG) for keeps in (True, False)]
    plans = [(plan.model(N_SYMBOLS), plan.train.tgt_len, *rest) for plan, *rest in plans]
    return [in_new_process(say_tokens, *plan) for plan in plans]


def say_tokens(options: ModelOptions, tgt_len: int, n_tokens: int, keeps: bool, what: str) -> dict:
    """By the model's decoder, or by one that computes the open segment anew for every token."""
    torch.manual_seed(0)
    model = build(options).eval()
    if not keeps:
        model.decoder = partial(Decoder, model)
    tokens = sample(model, [0], n_tokens, tgt_len=tgt_len)
    next(tokens)
    started = time.perf_counter()
    n_timed = sum(1 for _ in tokens)
    seconds = time.perf_counter() - started
    how = "keys and values kept" if keeps else "the open segment anew for every token"
    return _cost(f"saying, {what}, {how}", n_timed, "tokens", seconds)


# --- encoding ------------------------------------------------------------------------------------


def encoding(share: float) -> list[dict]:
    """A text of words, encoded on one core by a process that may use no other."""
    n_words = max(1_000, round(N_WORDS * share))
    with TemporaryDirectory() as folder:
        _write_words(Path(folder), n_words)
        return [in_new_process(encode_words, folder, n_words)]


def encode_words(folder: str, n_words: int) -> dict:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started = time.perf_counter()
    corpus = load_corpus(WT103, folder, encoded_dir=Path(folder, "encoded"), progress=False)
    seconds = time.perf_counter() - started
    n_types = f"{len(corpus.vocabulary):,} types"
    return _cost("encoding on one core", n_words, "words", seconds) | {"note": n_types}


def _write_words(folder: Path, n_words: int) -> None:
    """Lines of 25 words, as frequent as words are; valid and test are the first of them."""
    random = np.random.default_rng(0)
    frequency = word_frequencies(N_TYPES)
    names = np.array([f"word{i}" for i in range(N_TYPES)])

    def lines() -> Iterator[str]:
        # Every type once, then in proportion; some at a time, for they fill gigabytes.
        yield from (" ".join(names[i : i + 25]) for i in range(0, min(N_TYPES, n_words), 25))
        left = max(0, n_words - N_TYPES)
        while left:
            n = min(left, 1_000_000)
            ids = random.choice(N_TYPES, n, p=frequency)
            yield from (" ".join(names[ids[i : i + 25]]) for i in range(0, n, 25))
            left -= n

    with (folder / "train.txt").open("w") as train, Progress(n_words, "writing words") as progress:
        for line in lines():
            train.write(line + "\n")
            progress.update(line.count(" ") + 1)
    for split in ("valid", "test"):
        (folder / f"{split}.txt").write_text("word0 word1\n" * 100)


# --- ranks ---------------------------------------------------------------------------------------


def ranks(share: float) -> list[dict]:
    """One and two processes, twice each, in turn; a core for each process."""
    n_steps = 2 * max(1, round(6 * share))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UsageError("ranks needs two cores, but this process may use one")
    return [train_in_processes(n, n_steps, cores, share < 1) for n in (1, 2, 1, 2)]


def train_in_processes(n: int, n_steps: int, cores: list[int], tiny: bool) -> dict:
    """Tokens per second in the second half of a short run."""
    sizes = _sizes("enwik8", tiny)
    options = sizes | {
        "dataset": PYDOC.name,
        "bptt_unrolls": 1,
        "dropout": 0.1,
        "batch_size": n * NAMED["enwik8"]["batch_size"],
        "precision": "bf16",
        "max_step": n_steps,
        "log_interval": n_steps // 2,
        "eval_interval": n_steps,
        "max_eval_steps": 1,
    }
    launch = ["-m", "rmt.launch", "--standalone", f"--nproc_per_node={n}", "--"]
    with TemporaryDirectory() as folder:
        flags = command_line(options)
        done = subprocess.run(
            [sys.executable, *launch, *flags, "--work_dir", folder],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)},
            preexec_fn=lambda: os.sched_setaffinity(0, cores[:n]),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UsageError(f"training in {n} processes failed: {done.stderr.strip()[-300:]}")
        records = map(json.loads, Path(folder, "metrics.jsonl").read_text().splitlines())
        last = [record for record in records if record["kind"] == "train"][-1]
    n_tokens = last["tokens"] // n_steps * (n_steps // 2)
    return {
        "what": f"training, {n} process{'es' if n > 1 else ''}",
        "unit": "tokens",
        "amount": n_tokens,
        "seconds": n_tokens / last["tokens_per_s"],
    }


# --- what is told --------------------------------------------------------------------------------

MEASUREMENTS = {
    "stream": stream,
    "generation": generation,
    "encoding": encoding,
    "ranks": ranks,
    "schedules": schedules,
}


def _sizes(name: str, tiny: bool) -> dict:
    """A named model and its segments; the data's vocabulary and the batch are its user's."""
    sizes = NAMED[name] | ({"n_layer": 1, "d_model": 16, "d_inner": 16} if tiny else {})
    return {option: sizes[option] for option in sizes.keys() - {"n_token", "batch_size"}}


def _cost(what: str, amount: int, unit: str, seconds: float) -> dict:
    memory = peak_memory(CPU)
    return {
        "what": what,
        "amount": amount,
        "unit": unit,
        "seconds": seconds,
        "peak_memory_bytes": memory,
    }


def table(results: list[dict]) -> str:
    """The measurements in Markdown, a row each."""
    head = ["what", "of", "seconds", "per second", "peak memory"]
    if any("ratio" in found for found in results):
        head += ["times as fast as sequentially"]
    rows = []
    for found in results:
        row = [found["what"], f"{found['amount']:,} {found['unit']}", f"{found['seconds']:.1f}"]
        row += [f"{found['amount'] / found['seconds']:,.0f}"]
        memory = found.get("peak_memory_bytes")
        row += [f"{memory / 2**20:,.0f} MiB" if memory else ""]
        rows.append([*row, f"{found['ratio']:.2f}" if "ratio" in found else ""][: len(head)])
    return markdown(head, rows, n_words=1)
