"""Settings under one name: --recipe fast trains an algorithmic task in minutes on two CPU cores.

The paper's own settings are in run_scripts/run_copy.sh and its neighbours; there a run took hours
to days on a GPU (paper, appendix A.1). With these it took RMT, in minutes of training by the logs
in results/runs/tasks-fast,

    on both cores of an otherwise idle machine
        copy, n 24        6 segments 2
        reverse, n 24     4 segments 5, 6 segments 9
    on one core, the other one busy
        retrieval         2 segments 16, 5 segments 21
        copy, n 120       9 segments 27
        copy, n 360       9 segments 76, for 0.83 of the tokens
        quadratic         6 segments 112, for 0.28 of the equations
"""

from rmt.options.config import TASKS

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
SPECIAL = {
    # Where all of 40 memory tokens begin alike, reading any of them at first tells something.
    "copy": {"mem_init": "shared"},
    # Smaller weights learn reverse of 24 in fewer steps, but neither copy of 24 nor, as in the
    # quickstart, reverse of 8.
    "reverse": {"init": "uniform"},
    # With the paper's LayerNorm after each part RMT goes on guessing among the sample's values.
    "retrieval": {
        "pre_lnorm": True,
        "mem_init": "shared",
        "lr": 0.002,
        "batch_size": 256,
        "max_step": 8000,
        "eval_interval": 250,
    },
    # Its samples can't be made shorter.
    "quadratic": {
        "curriculum": 0,
        "mem_init": "shared",
        "batch_size": 32,
        "eval_interval": 250,
    },
}


def recipe_for(options: dict) -> dict:
    """The recipe's settings for everything that the options leave open."""
    if options.get("recipe") != "fast" or options.get("dataset") not in TASKS:
        return {}
    recipe = FAST | SPECIAL.get(options["dataset"], {})
    return {name: value for name, value in recipe.items() if name not in options}
