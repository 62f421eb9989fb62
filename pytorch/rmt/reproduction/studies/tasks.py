"""Our studies on algorithmic tasks.

gradients  reverse, with gradient through fewer segments than a sample has
lessons    copy and reverse, with the other model's training: RMT without lessons, Transformer-XL
           with them
alike      copy and reverse where they decide, RMT and Transformer-XL with the same four trainings:
           with lessons and without, from initial weights of both kinds
associative  remember by the number of pairs: nothing carried, RMT with the published 32 memory
           tokens, ARMT with as many numbers, and with six times as many
associative_longer  remember with 50 and 100 pairs: ARMT that goes on from 20
quadratic_longer  Table 1 with mini scale's steps, and with twice as many
facts      a fact anywhere in 7 segments of text (facts.py, detect): RMT, ARMT and Transformer-XL
as_published_reverse, ablation_reverse  reverse, with what those of text.py change
"""

from dataclasses import replace
from itertools import product

from rmt.paper.published import table_cells
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import MINI_QUADRATIC, plan
from rmt.reproduction.studies.common import ablated, changed, of_figure4, published
from rmt.runs.settings import Settings


def gradients(_with_data: bool) -> list[Plan]:
    base = of_figure4("reverse", "rmt", 12, 4)
    shorter = [changed(base, f"{base.name}-bptt{n}", {"bptt_unrolls": n}) for n in (0, 1)]
    return [base, *shorter]


def lessons(_with_data: bool) -> list[Plan]:
    plans = []
    for place in (("copy", "rmt", 12, 6), ("reverse", "rmt", 8, 6), ("reverse", "trxl", 12, 4)):
        base = of_figure4(*place)
        if base.options["model"] == "trxl":
            flags = {k: v for k, v in base.options.items() if k not in ("curriculum", "init")}
            other = replace(base, name=f"{base.name}-lessons", options=flags)
        else:
            other = changed(base, f"{base.name}-plain", {"curriculum": 0})
        plans += [base, other]
    return plans


# Where Figure 4 decides: task, model, memory, segments.
ALIKE = tuple(
    (task, model, memory, segments)
    for task, memory, segments in (
        ("copy", 12, 6),
        ("copy", 8, 9),
        ("reverse", 12, 4),
        ("reverse", 8, 6),
    )
    for model in ("rmt", "trxl")
)


def alike(_with_data: bool) -> list[Plan]:
    return [own for place in ALIKE for own in arms_of(of_figure4(*place))]


def arms_of(base: Plan) -> list[Plan]:
    """With lessons and without, from initial weights of both kinds; one of the four is the base.

    Names say what differs from the base, and of the initial weights where they are not the usual
    ones: the base's, or with other lessons the recipe's.
    """
    own = base.settings
    usual = Settings.of({k: v for k, v in base.options.items() if k not in ("curriculum", "init")})
    plans = []
    for lessons, init in product((-1, 0), ("xavier", "uniform")):
        name, usual_init = base.name, own.given["init"]
        if lessons != own.train.curriculum:
            name += "-lessons" if lessons else "-plain"
            usual_init = usual.given["init"]
        name += f"-{init}" if init != usual_init else ""
        same = (lessons, init) == (own.train.curriculum, own.given["init"])
        arm = changed(base, name, {"curriculum": lessons, "init": init})
        plans.append(base if same else arm)
    return plans


# By how many pairs; the models. rmt32 carries as many numbers as armt-small, 2,048; what it does
# not learn of 10 pairs it is not asked of more. rmt192 carries as many as armt, 12,288. A step of
# it takes many times as long, so it has fewer of them, and bf16, but several times armt's time.
PAIRS = (5, 10, 20)
RETRIEVERS = {
    "baseline": {"model": "baseline"},
    "rmt32": {"model": "rmt", "mem_len": 32},
    "armt-small": {"model": "armt", "mem_len": 1, "d_mem": 8, "dpfp_nu": 1},
    "armt": {"model": "armt", "mem_len": 1},
}


def associative(_with_data: bool) -> list[Plan]:
    plans = []
    for pairs, (name, model) in product(PAIRS, RETRIEVERS.items()):
        if name == "rmt32" and pairs == max(PAIRS):
            continue
        flags = {"dataset": "remember", "pairs": pairs, "recipe": "fast", "n_head": 4}
        plans.append(Plan("mini", f"remember{pairs}-{name}", flags | model))
    as_many = flags | {"model": "rmt", "mem_len": 192, "max_step": 1500, "precision": "bf16"}
    return [*plans, Plan("mini", f"remember{pairs}-rmt192", as_many)]


def associative_longer(with_data: bool) -> list[Plan]:
    """From 20 pairs on to 50, and from there to 100. From nothing, 100 pairs were not learned."""
    (trained,) = (own for own in associative(with_data) if own.name == "remember20-armt")
    plans = []
    for pairs, steps in ((50, 2000), (100, 1500)):
        flags = {"pairs": pairs, "curriculum": 0, "max_step": steps}
        longer = changed(trained, f"remember{pairs}-armt-longer", flags)
        plans.append(replace(longer, begins_with=plans[-1] if plans else trained))
    return plans


def quadratic_longer(_with_data: bool) -> list[Plan]:
    """Twice mini scale's steps, after which all models still learned until the rate had fallen."""
    bases = [plan(cell, "mini") for cell in table_cells()]
    n_steps = 2 * MINI_QUADRATIC["max_step"]
    longest = [changed(base, f"{base.name}-longest", {"max_step": n_steps}) for base in bases]
    return [*bases, *longest]


def facts(_with_data: bool) -> list[Plan]:
    """As run_scripts/run_facts.sh trains."""
    common = {
        "dataset": "facts",
        "kind": "detect",
        "sample_len": 448,
        "tgt_len": 64,
        "n_layer": 2,
        "n_head": 4,
        "d_head": 16,
        "d_model": 64,
        "d_inner": 128,
        "dropout": 0.0,
        "optim": "adam",
        "lr": 0.001,
        "clip": 1.0,
        "scheduler": "cosine",
        "warmup_step": 200,
        "max_step": 6000,
        "curriculum": -1,
        "batch_size": 32,
        "eval_interval": 250,
        "eval_batch_size": 100,
        "max_eval_steps": 2,
        "save_interval": 500,
        "stop_at": 0.995,
    }
    arms = {
        "rmt": {"model": "rmt", "mem_len": 10},
        "armt": {"model": "armt", "mem_len": 10, "d_mem": 16},
        "trxl": {"model": "trxl", "mem_len": 64},
    }
    return [Plan("mini", f"detect7-{name}", common | model) for name, model in arms.items()]


def as_published_reverse(_with_data: bool) -> list[Plan]:
    return published(of_figure4("reverse", "rmt", 12, 4), "positions", "init")


def ablation_reverse(_with_data: bool) -> list[Plan]:
    return ablated(of_figure4("reverse", "rmt", 12, 4))
