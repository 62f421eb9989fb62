"""Our own studies at mini scale: what the paper's comparisons depend on.

window     one optimizer step for N+1 segments, instead of replaying N for every step
segments   whether 10 memory tokens do what a cache of 10 does, by the length of the segments
segments_scaled  the same with memory and cache an eighth of a segment, and a cache of 20
rates      the same, by the learning rate
gradients  reverse, with gradient through fewer segments than a sample has
lessons    copy and reverse, with the other model's training: RMT without lessons, Transformer-XL
           with them
warm_start text: RMT that begins with a trained Transformer-XL, or with nothing; and gradient
           through 1, 2 and then 4 segments, or through 4 from the start
associative  remember by the number of pairs: nothing carried, RMT with the published 32 memory
           tokens, ARMT with as many numbers, and both with six times as many
associative_longer  remember with up to 100 pairs: ARMT with twice the memory in each layer
facts      a fact anywhere in 7 segments of text (facts.py, detect): RMT, ARMT and Transformer-XL
armt_text  text: ARMT, RMT and Transformer-XL with as many numbers carried, and as many parameters
alike      copy and reverse where they decide, RMT and Transformer-XL with the same four trainings:
           with lessons and without, from initial weights of both kinds
grid       WikiText-103: gradient through 0 to 3 segments, with 1 to 25 memory tokens
as_published  what the published code computes in another way (--as_published), each alone and all
           together: RMT and Transformer-XL + RMT on enwik8; as_published_reverse: RMT on reverse
ablation   what RMT's memory is made of, on enwik8 (ablation_reverse: on reverse): equal first rows,
           a causal mask for it, write memory that begins as learned rows
wrapped_gpt2, smollm, minilm  memory around pretrained models (pretrained_studies.py)

They are targets of rmt.reproduce, as the paper's tables and figures are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from rmt.paper.experiments import ADDED, SEGMENT_5CD, rows
from rmt.paper.published import figure_cells, published_cells
from rmt.reproduction.plans import Plan, fitting_runs
from rmt.reproduction.pretrained_studies import minilm, smollm, wrapped_gpt2
from rmt.reproduction.run_tables import runs_table, tasks_table
from rmt.reproduction.scales import MINI_TOKENS_PER_STEP, plan
from rmt.runs.logged_runs import LoggedRun
from rmt.runs.reports import NOT_RUN
from rmt.runs.settings import Settings

# Of studies that have many runs.
SHORTER = {
    "max_step": 2000,
    "warmup_step": 200,
    "eval_interval": 500,
    "eval_tgt_len": 0,
}


def window(with_data: bool) -> list[Plan]:
    """Replay as in the paper beside window, N 1 and 3, at equal tokens or at equal time.

    steps: the same tokens and as many steps, of N+1 times fewer streams. time: as many steps of as
    many streams, so about replay's time, and N+1 times the tokens. tokens: the same tokens in N+1
    times fewer steps of as many streams.
    """
    base = _of_table3("rmt", 10, 1, with_data)
    plans = []
    for way in ("replay", "window-steps", "window-time", "window-tokens"):
        for n in (1, 3):
            flags = {**SHORTER, "bptt_unrolls": n}
            if way != "replay":
                flags["bptt_mode"] = "window"
            if way == "window-steps":
                flags["batch_size"] = base.options["batch_size"] // (n + 1)
            if way == "window-tokens":
                flags |= {name: SHORTER[name] // (n + 1) for name in ("max_step", "warmup_step")}
            plans.append(_changed(base, f"{base.dataset}-{way}-{n}", flags))
    return plans


def segments(with_data: bool) -> list[Plan]:
    """Mini scale's segments of 16, of which a cache of 10 is 62 %, up to the paper's 128 (8 %)."""
    bases = _both(with_data) | {"baseline": _of_table3("baseline", 0, 0, with_data)}
    plans = list(bases.values())
    for n in (32, 64, 128):
        flags = {"tgt_len": n, "eval_tgt_len": n, "batch_size": MINI_TOKENS_PER_STEP // n}
        plans += [
            _changed(base, f"{base.dataset}-segment{n}-{name}", flags)
            for name, base in bases.items()
        ]
    return plans


SEGMENTS = (16, 32, 64, 128)


def segments_scaled(with_data: bool) -> list[Plan]:
    bases = _both(with_data)
    plans = [_of_table3("trxl", 20, 0, with_data)]  # with segments of 16
    for n in SEGMENTS:
        cut = {"tgt_len": n, "eval_tgt_len": n, "batch_size": MINI_TOKENS_PER_STEP // n}
        for base, name, memory in (
            (bases["rmt10-bptt1"], f"rmt{n // 8}-bptt1", n // 8),
            (bases["trxl10"], f"trxl{n // 8}", n // 8),
            (bases["trxl10"], "trxl20", 20),
        ):
            if (n, memory) != (16, 20):
                named = f"{base.dataset}-segment{n}-{name}"
                plans.append(_changed(base, named, {**cut, "mem_len": memory}))
    return plans


def rates(with_data: bool) -> list[Plan]:
    """Mini scale's learning rate of 0.002, its half and its double."""
    bases = _both(with_data)
    plans = list(bases.values())
    for lr in (0.001, 0.004):
        plans += [
            _changed(base, f"{base.dataset}-lr{lr}-{name}", {"lr": lr})
            for name, base in bases.items()
        ]
    return plans


def gradients(_with_data: bool) -> list[Plan]:
    base = _of_figure4("reverse", "rmt", 12, 4)
    shorter = [_changed(base, f"{base.name}-bptt{n}", {"bptt_unrolls": n}) for n in (0, 1)]
    return [base, *shorter]


def lessons(_with_data: bool) -> list[Plan]:
    plans = []
    for place in (("copy", "rmt", 12, 6), ("reverse", "rmt", 8, 6), ("reverse", "trxl", 12, 4)):
        base = _of_figure4(*place)
        if base.options["model"] == "trxl":
            flags = {k: v for k, v in base.options.items() if k not in ("curriculum", "init")}
            other = replace(base, name=f"{base.name}-lessons", options=flags)
        else:
            other = _changed(base, f"{base.name}-plain", {"curriculum": 0})
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
    return [own for place in ALIKE for own in arms_of(_of_figure4(*place))]


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
        changed = _changed(base, name, {"curriculum": lessons, "init": init})
        plans.append(base if same else changed)
    return plans


def warm_start(with_data: bool) -> list[Plan]:
    """RMT of window's replay, from nothing and from a trained Transformer-XL, and what to compare.

    from nothing: as many steps, and as many as both trainings have together. from Transformer-XL:
    RMT, and Transformer-XL itself once more, for a second schedule helps it, too.
    """
    bases = _both(with_data)
    trxl, rmt = bases["trxl10"], bases["rmt10-bptt1"]
    trained = _changed(trxl, f"{trxl.dataset}-short-trxl10", SHORTER)
    nothing = _changed(rmt, f"{rmt.dataset}-replay-1", {**SHORTER, "bptt_unrolls": 1})
    longer = {"max_step": 2 * SHORTER["max_step"], "warmup_step": 2 * SHORTER["warmup_step"]}
    plans = [trained, nothing, _changed(nothing, f"{nothing.name}-longer", longer)]
    for own in (trained, nothing):
        plans.append(replace(own, name=f"{own.name}-from-trxl10", begins_with=trained))
    whole = _changed(rmt, f"{rmt.dataset}-replay-3", {**SHORTER, "bptt_unrolls": 3})
    quarter = SHORTER["max_step"] // 4
    stages = {"curriculum_segments": (1, 2, 4), "curriculum_steps": (quarter, quarter)}
    return [*plans, whole, _changed(whole, f"{whole.name}-after-1-2", stages)]


# By how many pairs; the models. Numbers carried: as many by rmt32 as by armt-small, 2,048, and by
# rmt192 as by armt, 12,288. A step of rmt192 takes 1.4 s on one core where one of armt takes 0.02,
# so that it is trained on the fewest pairs alone.
PAIRS = (5, 10, 20, 50)
RETRIEVERS = {
    "baseline": {"model": "baseline"},
    "rmt32": {"model": "rmt", "mem_len": 32},
    "rmt192": {"model": "rmt", "mem_len": 192},
    "armt-small": {"model": "armt", "mem_len": 1, "d_mem": 8, "dpfp_nu": 1},
    "armt": {"model": "armt", "mem_len": 1},
}


def associative(_with_data: bool) -> list[Plan]:
    plans = []
    for pairs, (name, model) in product(PAIRS, RETRIEVERS.items()):
        if name == "rmt192" and pairs > min(PAIRS):
            continue
        flags = {"dataset": "remember", "pairs": pairs, "recipe": "fast", "n_head": 4}
        plans.append(Plan("mini", f"remember{pairs}-{name}", flags | model))
    return plans


def associative_longer(_with_data: bool) -> list[Plan]:
    flags = {"dataset": "remember", "pairs": 100, "recipe": "fast", "n_head": 4}
    flags |= {"model": "armt", "mem_len": 1, "d_mem": 32, "max_step": 8000}
    return [Plan("mini", "remember100-armt32", flags)]


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


def armt_text(with_data: bool) -> list[Plan]:
    """ARMT on text: with the numbers of a cache of 10, which 40 memory tokens of RMT have, too, and
    with the parameters of RMT. Its feed-forward layers are smaller by what its memories need."""
    bases = _both(with_data)
    rmt = bases["rmt10-bptt1"]
    arms = {
        "rmt40-bptt1": {"mem_len": 40},
        "armt-small-bptt1": {"d_mem": 5, "dpfp_nu": 1, "memory_update": "delta", "d_inner": 443},
        "armt-bptt1": {"d_mem": 64, "d_inner": 384},
    }
    plans = list(bases.values())
    for name, flags in arms.items():
        model = {"model": "armt"} if name.startswith("armt") else {}
        plans.append(_changed(rmt, f"{rmt.dataset}-128-{name}", model | flags))
    return plans


GRID_MEMORIES, GRID_DEPTHS = (1, 5, 10, 25), (0, 1, 2, 3)


def grid(with_data: bool) -> list[Plan]:
    """Rows of Table 4, and those that it leaves out."""
    (base,) = (
        row
        for row in rows("table4")
        if (row.model, row.memory, row.bptt_unrolls, row.segment_len) == ("rmt", 10, 1, SEGMENT_5CD)
    )
    return [
        plan(replace(base, memory=memory, bptt_unrolls=depth), "mini", with_data)
        for memory, depth in product(GRID_MEMORIES, GRID_DEPTHS)
    ]


# docs/differences.md says what they are. Without a cache there is nothing for cache to change, and
# of a task's samples nothing is replayed.
DIFFERENCES = {
    "positions": {"published_positions": True},
    "cache": {"published_cache": True},
    "replay": {"replay_from": "newest"},
    "init": {"mem_init": "shared"},
}


def as_published(with_data: bool) -> list[Plan]:
    rmt = _both(with_data)["rmt10-bptt1"]
    both = {"model": "trxl_rmt", "cache_len": 10}
    trxl_rmt = _changed(rmt, f"{rmt.dataset}-128-trxl_rmt10-cache10-bptt1", both)
    return [
        *_published(rmt, "positions", "replay", "init"),
        *_published(trxl_rmt, "positions", "cache", "replay", "init"),
    ]


ABLATED = {
    "mask": {"memory_mask": "causal"},
    "write": {"write_from": "learned"},
}


def ablation(with_data: bool) -> list[Plan]:
    return _ablated(_both(with_data)["rmt10-bptt1"])


def ablation_reverse(_with_data: bool) -> list[Plan]:
    return _ablated(_of_figure4("reverse", "rmt", 12, 4))


def _ablated(base: Plan) -> list[Plan]:
    """The base, with equal first rows, and with each of ABLATED."""
    _, shared, _ = _published(base, "init")
    each = [_changed(base, f"{base.name}-{name}", flags) for name, flags in ABLATED.items()]
    return [base, shared, *each]


def as_published_reverse(_with_data: bool) -> list[Plan]:
    return _published(_of_figure4("reverse", "rmt", 12, 4), "positions", "init")


def _published(base: Plan, *names: str) -> list[Plan]:
    """The base, with each of some DIFFERENCES, and with all of them."""
    plans, every = [base], {}
    for name in names:
        plans.append(_changed(base, f"{base.name}-published-{name}", DIFFERENCES[name]))
        every |= DIFFERENCES[name]
    return [*plans, _changed(base, f"{base.name}-published-all", every)]


STUDIES: dict[str, Callable[[bool], list[Plan]]] = {
    study.__name__: study
    for study in (
        window,
        segments,
        segments_scaled,
        rates,
        gradients,
        lessons,
        alike,
        warm_start,
        associative,
        associative_longer,
        facts,
        armt_text,
        grid,
        as_published,
        as_published_reverse,
        ablation,
        ablation_reverse,
        wrapped_gpt2,
        smollm,
        minilm,
    )
}
OF_TEXT = (
    "window",
    "segments",
    "segments_scaled",
    "rates",
    "warm_start",
    "armt_text",
    "grid",
    "as_published",
    "ablation",
    "wrapped_gpt2",
    "smollm",
)


def runs_of_study(name: str, runs: Sequence[LoggedRun], with_data: bool = True) -> list[LoggedRun]:
    """Those of the runs that belong to a study, in the order of its plans."""
    return [run for own in STUDIES[name](with_data) for run in fitting_runs(own, runs)]


def is_complete(name: str, runs: Sequence[LoggedRun]) -> bool:
    """Whether there is a run of each of its plans."""
    return all(fitting_runs(own, runs) for own in STUDIES[name](True))


def study_table(name: str, runs: Sequence[LoggedRun], with_data: bool = True) -> str:
    """What has run of a study, in Markdown."""
    found = runs_of_study(name, runs, with_data)
    if not found:
        return f"{NOT_RUN}\n"
    if name in OF_TEXT:
        return runs_table(found, with_speed=False)
    return tasks_table(found, published_cells(), with_speed=False)


def _of_table3(model: str, memory: int, bptt_unrolls: int, with_data: bool) -> Plan:
    """A row with segments of 128, which are 16 at mini scale."""
    wanted = (model, memory, bptt_unrolls, 128)
    (row,) = (
        row
        for row in rows("table3") + ADDED["table3"]
        if (row.model, row.memory, row.depth, row.segment_len) == wanted
    )
    return plan(row, "mini", with_data)


def _both(with_data: bool) -> dict[str, Plan]:
    """The two that are compared."""
    return {
        "trxl10": _of_table3("trxl", 10, 0, with_data),
        "rmt10-bptt1": _of_table3("rmt", 10, 1, with_data),
    }


def _of_figure4(*place: object) -> Plan:
    (cell,) = (cell for cell in figure_cells() if cell.place == place)
    return plan(cell, "mini")


def _changed(base: Plan, name: str, flags: dict) -> Plan:
    """A plan with a name of its own and other flags."""
    return replace(base, name=name, options={**base.options, **flags})
