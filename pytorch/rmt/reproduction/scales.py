"""The paper's experiments as training runs at one of three scales.

paper   exactly the paper's settings, for GPUs.
midi    Table 3 in minutes of one GPU a run: the paper's segments, memories and caches, but a
        smaller model, the first 4,000,000 bytes of enwik8, and 3,000 steps.
mini    the same comparisons on two CPU cores, defined here and nowhere else: of text a small model,
        short segments and few tokens; of the algorithmic tasks the paper's samples and models with
        the fast recipe (recipes.py). Its numbers are not comparable with published ones, but for
        the tasks' accuracies.
"""

import re
from dataclasses import replace

from rmt.paper.experiments import (
    COMMON,
    LONG,
    LONG_TRAINING,
    MODEL_SIZES,
    TASK_SIZES,
    TASK_TRAINING,
    TRAINING,
    Experiment,
    Row,
)
from rmt.paper.published import Cell
from rmt.reproduction.plans import ROUGHLY, Plan

SCALES = ("paper", "midi", "mini")
FOR_GPUS = ("paper", "midi")
# The targets that there are at midi scale.
MIDI_TARGETS = ("table3",)

# --- midi scale ----------------------------------------------------------------------------------

MIDI_SIZES = {"n_layer": 6, "d_model": 256, "n_head": 4, "d_head": 64, "d_inner": 1024}
MIDI_TOKENS_PER_STEP = 8192
MIDI_TRAINING = {
    "dropout": 0.1,
    "lr": 0.0005,
    "warmup_step": 200,
    "max_step": 3000,
    "eval_interval": 500,
    "save_interval": 3000,
    "log_interval": 100,
    "precision": "bf16",
}

# --- mini scale ----------------------------------------------------------------------------------

MINI_SIZES = {"n_layer": 4, "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 512}
MINI_SEGMENT = {50: 16, 128: 16, 150: 48, 512: 64}  # by the paper's
MINI_TOKENS_PER_STEP = 512
MINI_STEPS = {"enwik8": 4800, "wt103": 2400}
MINI_TRAINING = {
    "dropout": 0.1,
    "dropatt": 0.0,
    "optim": "adam",
    "lr": 0.002,
    "scheduler": "cosine",
    "clip": 0.25,
    "precision": "bf16",
    "log_interval": 100,
    "save_interval": 300,
}
# What mini and midi scale are meant for, by the fingerprint of the text.
SMALL_TEXTS = {
    "60c756951a25fc613f3375b968c25541901781c0f56af6a815f0734c0ed65ef5": (
        "wt103-mini (0.4 M words of WikiText-103's valid and test articles)"
    ),
    "9e01775d3fb12a48a0c6b38a1e8d606ea4d8be0c40a33844e7dd10ba6267ea3c": (
        "the first 4,000,000 bytes of enwik8"
    ),
}
MINI_VOCABULARY = {"wt103": {"n_token": 26_118, "cutoffs": (20_000,)}}
# Where the text of a dataset is not at hand, --scale mini is of the reference inside Python.
WITHOUT_DATA = "pydoc"
# Where the copies are long, smaller batches and evaluations, which run freely over the answers.
MINI_LONG = {"batch_size": 32, "eval_interval": 200, "max_eval_steps": 1}
LONGEST = 360  # symbols
# With lessons, and more steps of smaller batches: in trials such steps learned twice as much of the
# equations as the recipe's, from as much computation.
MINI_QUADRATIC = {"curriculum": -1, "batch_size": 8, "max_step": 20_000, "eval_interval": 1000}

# --- plans ---------------------------------------------------------------------------------------


def plan(experiment: Experiment, scale: str, with_data: bool = True) -> Plan:
    """How an experiment is done at a scale of SCALES.

    with_data: whether the text of the dataset, or of its small version, is at hand; if not, mini
    is of pydoc.
    """
    if isinstance(experiment, Cell):
        return _of_cell(experiment, scale)
    return _of_row(experiment, scale, with_data)


def _of_row(row: Row, scale: str, with_data: bool) -> Plan:
    shared = {"model": row.model, **row.flags}
    parts = [row.dataset, str(row.segment_len), f"{row.model}{row.memory or ''}"]
    parts += [f"cache{row.cache}"] if row.cache else []
    parts += [f"bptt{row.bptt_unrolls}"] if "bptt_unrolls" in row.flags else []
    if scale == "paper":
        sizes = dict(MODEL_SIZES[row.dataset])
        # Cutoffs are not an option of the run scripts either, but --adaptive is.
        vocabulary = {k: sizes.pop(k) for k in ("n_token", "cutoffs") if k in sizes}
        training = COMMON | TRAINING[row.dataset]
        training["batch_size"] = training["batch_size"][row.segment_len]
        flags = {"dataset": row.dataset, **sizes, **training, **shared}
        return Plan(scale, "-".join(parts), flags, vocabulary["n_token"], vocabulary)
    if scale == "midi":
        lengths = {"batch_size": MIDI_TOKENS_PER_STEP // row.segment_len}
        lengths["eval_tgt_len"] = TRAINING[row.dataset]["eval_tgt_len"]
        options = {"dataset": row.dataset, **MIDI_SIZES, **MIDI_TRAINING, **lengths, **shared}
        return Plan(scale, "-".join(parts), options)
    shared["tgt_len"] = MINI_SEGMENT[row.segment_len]
    dataset = {"dataset": row.dataset} | _adaptive(row.dataset)
    if not with_data:
        dataset, parts[0] = {"dataset": WITHOUT_DATA}, f"{WITHOUT_DATA}-as-{row.dataset}"
    steps = MINI_STEPS[row.dataset]
    schedule = {"max_step": steps, "warmup_step": steps // 12, "eval_interval": steps // 8}
    schedule["batch_size"] = MINI_TOKENS_PER_STEP // shared["tgt_len"]
    if "eval_tgt_len" in TRAINING[row.dataset]:
        schedule["eval_tgt_len"] = MINI_SEGMENT[TRAINING[row.dataset]["eval_tgt_len"]]
    flags = {**dataset, **MINI_SIZES, **MINI_TRAINING, **schedule, **shared}
    return Plan(
        scale, "-".join(parts), flags, vocabulary=MINI_VOCABULARY.get(dataset["dataset"], ROUGHLY)
    )


def _adaptive(dataset: str) -> dict:
    return {name: value for name, value in TRAINING[dataset].items() if name == "adaptive"}


def _of_cell(cell: Cell, scale: str) -> Plan:
    task, size = re.fullmatch(r"([a-z]+)(\d*)", cell.task).groups()
    n = int(size or 0)  # 0: the task's own
    flags = {"dataset": task, "model": cell.model, "segments": cell.segments}
    flags |= {"mem_len": cell.memory} if cell.memory else {}
    flags |= {"n": n} if n else {}
    flags |= TASK_SIZES[task]
    if scale == "paper":
        flags |= TASK_TRAINING[task] | (LONG_TRAINING if n >= LONG else {}) | cell.training
    else:
        flags |= {"recipe": "fast"} | _mini_exceptions(task, cell.model, cell.segments, n)
    plan = Plan(scale, cell.task, flags)
    cut = f"{cell.segments}x{plan.settings.train.tgt_len}"
    return replace(plan, name=f"{cell.task}-{cut}-{cell.model}{cell.memory or ''}")


def _mini_exceptions(task: str, model: str, segments: int, n: int) -> dict:
    """What differs from the fast recipe."""
    flags = MINI_LONG if n >= LONG else {}
    flags = flags | ({"max_step": 1500, "test_samples": 2000} if n >= LONGEST else {})
    if task == "quadratic":
        return flags | MINI_QUADRATIC
    if task in ("copy", "reverse"):
        if model == "trxl":
            # With them it never looked further back than in the first of them.
            return flags | {"curriculum": 0, "init": "xavier"}
        if model in ("baseline", "mt") and segments > 1:
            # Nothing reaches their answers; a thousand steps show it.
            return flags | {"max_step": 1000}
    return flags


def describe_midi(text: str | None) -> str:
    """A sentence that says what midi numbers of Table 3 are, to stand above it; text as below."""
    return (
        f"midi: {MIDI_SIZES['n_layer']} layers, d_model {MIDI_SIZES['d_model']}, segments, "
        f"memories and caches as in the paper, {MIDI_TRAINING['max_step']:,} steps of "
        f"{MIDI_TOKENS_PER_STEP:,} tokens, {_of_text(text)}. **Not comparable with the paper's "
        "numbers, only with each other.**"
    )


def _of_text(text: str | None) -> str:
    return f"on {SMALL_TEXTS.get(text, f'the text {text[:16]}')}" if text else "not run"


def describe_mini(dataset: str, text: str | None) -> str:
    """A sentence that says what mini numbers of a table are, to stand above it.

    text: its fingerprint; None where nothing has run.
    """
    lengths = TRAINING[dataset]["batch_size"]
    segments = " and of ".join(
        f"{MINI_SEGMENT[papers]} tokens where the paper has {papers}" for papers in lengths
    )
    return (
        f"mini: {MINI_SIZES['n_layer']} layers, d_model {MINI_SIZES['d_model']}, "
        f"{MINI_STEPS[dataset]:,} steps of about {MINI_TOKENS_PER_STEP:,} tokens, "
        f"{_of_text(text)}. Segments are of {segments}. Memories and caches are as large as there. "
        "**Not comparable with the paper's numbers, only with each other.**"
    )
