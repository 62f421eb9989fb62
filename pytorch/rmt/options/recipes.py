"""Settings under one name, for flags that are not given.

--recipe fit, for text: a model of a size that fits the text and the machine (fitting).
--recipe fast, for an algorithmic task: it is trained in minutes on two CPU cores. The paper's own
settings are in run_scripts/run_copy.sh and its neighbours; there a run took hours to days on a GPU
(paper, appendix A.1). With these it took RMT, in minutes of training by the logs in
results/runs/tasks-fast,

    on both cores of an otherwise idle machine
        copy, n 24        6 segments 2
        reverse, n 24     4 segments 5, 6 segments 9
    on one core, the other one busy
        retrieval         2 segments 16, 5 segments 21
        copy, n 120       9 segments 27
        copy, n 360       9 segments 76, for 0.83 of the tokens
        quadratic         6 segments 112, for 0.28 of the equations
"""

from collections.abc import Mapping
from dataclasses import dataclass

FAST = {
    "init": "xavier",
    "dropout": 0.0,
    "batch_size": 64,
    "lr": 0.001,
    "warmup_step": 200,
    "scheduler": "cosine",
    "eta_min": 0.0001,
    "clip": 1.0,
    "curriculum": -1,
    "precision": "bf16",
    "max_step": 3000,
    "eval_interval": 100,
    "eval_batch_size": 250,
    "max_eval_steps": 2,
    "stop_at": 0.999,
    "log_interval": 50,
    "save_interval": 500,
}


@dataclass(frozen=True)
class Size:
    """A model and what it is trained with. max_step: at most so many optimizer steps."""

    options: Mapping[str, object]
    max_step: int


# By layers: 0.8, 4.7 and 38 million parameters. The last is the paper's model of enwik8.
SMALL = Size(
    {"n_layer": 4, "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 512}
    | {"tgt_len": 64, "batch_size": 16, "lr": 0.002},
    5_000,
)
MEDIUM = Size(
    {"n_layer": 6, "d_model": 256, "n_head": 8, "d_head": 32, "d_inner": 1024}
    | {"tgt_len": 128, "batch_size": 16, "lr": 0.001},
    20_000,
)
LARGE = Size(
    {"n_layer": 12, "d_model": 512, "n_head": 8, "d_head": 64, "d_inner": 2048}
    | {"tgt_len": 128, "batch_size": 64, "lr": 0.00025},
    100_000,
)
LONG_TEXT = 10_000_000  # bytes
BYTES_PER_WORD = 6  # with the space after it
MOST_EPOCHS = 20
N_EVALUATIONS = 20


def fitting(options: Mapping, n_train: int, n_held_out: int) -> dict:
    """Sizes for a text, for everything that the options leave open.

    On a CPU the model is small, on a GPU medium; of a text of 10 MB and more it is one size larger.
    It reads the text 20 times, or until its size's most steps. Segments and batches are smaller
    where the text is too short for them.

    n_train, n_held_out: bytes of the training split, and of the shorter of the two others.
    """
    size = (SMALL, MEDIUM, LARGE)[bool(options.get("cuda")) + (n_train >= LONG_TEXT)]
    per_token = BYTES_PER_WORD if options.get("tokenizer") == "word" else 1
    n_train, n_held_out = n_train // per_token, n_held_out // per_token
    found = {**size.options, "dropout": 0.1, "precision": "bf16", "tell_time": True} | options
    # Half of what there is, for a character may take several bytes, and a word more than most.
    found["tgt_len"] = options.get("tgt_len", max(1, min(found["tgt_len"], n_held_out // 4)))
    room = found["tgt_len"] + 1
    sizes = {
        "batch_size": max(1, min(found["batch_size"], n_train // room // 2)),
        "eval_batch_size": max(1, min(10, n_held_out // room // 2)),
    }
    found = {**found, **sizes} | options
    n_steps = MOST_EPOCHS * n_train // (found["batch_size"] * found["tgt_len"])
    found.setdefault("max_step", max(1_000, min(size.max_step, n_steps)))
    interval = max(50, found["max_step"] // N_EVALUATIONS)
    often = {"eval_interval": interval, "save_interval": interval, "max_eval_steps": 100}
    often |= {"warmup_step": interval, "log_interval": interval // 5}
    return often | found


def recipe_for(options: Mapping, special: Mapping) -> dict:
    """The recipe's settings for everything that the options leave open.

    special: what is others for the task, which stands in its file.
    """
    if options.get("recipe") != "fast":
        return {}
    recipe = {**FAST, **special}
    return {name: value for name, value in recipe.items() if name not in options}
