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

from collections.abc import Mapping

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


def recipe_for(options: Mapping, special: Mapping) -> dict:
    """The recipe's settings for everything that the options leave open.

    special: what is others for the task, which stands in its file.
    """
    if options.get("recipe") != "fast":
        return {}
    recipe = {**FAST, **special}
    return {name: value for name, value in recipe.items() if name not in options}
