"""Settings under one name: --recipe fast trains an algorithmic task in minutes on two CPU cores.

The paper's own settings are in run_scripts/run_copy.sh and its neighbours; there a run took hours
to days on a GPU (paper, appendix A.1).
"""

from rmt.config import TASKS

FAST = {
    "init": "xavier",
    "dropout": 0.0,
    "batch_size": 64,
    "lr": 0.001,
    "warmup_step": 200,
    "scheduler": "cosine",
    "eta_min": 0.0001,
    "clip": 1.0,
    "precision": "bf16",
    "max_step": 2000,
    "eval_interval": 100,
    "eval_batch_size": 500,
    "max_eval_steps": 1,
    "stop_at": 0.999,
    "log_interval": 50,
    "save_interval": 500,
}


def recipe_for(options: dict) -> dict:
    """The recipe's settings for everything that the options leave open."""
    if options.get("recipe") != "fast" or options.get("dataset") not in TASKS:
        return {}
    return {name: value for name, value in FAST.items() if name not in options}
