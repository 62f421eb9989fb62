"""Our studies on text, at mini scale.

window     one optimizer step for N+1 segments, instead of replaying N for every step
segments   whether 10 memory tokens do what a cache of 10 does, by the length of the segments
segments_scaled  the same with memory and cache an eighth of a segment, and a cache of 20
rates      the same, by the learning rate
warm_start RMT that begins with a trained Transformer-XL, or with nothing; and gradient through 1, 2
           and then 4 segments, or through 4 from the start
armt_text  ARMT, RMT and Transformer-XL with as many numbers carried, and as many parameters
grid       WikiText-103: gradient through 0 to 3 segments, with 1 to 25 memory tokens
as_published  what the published code computes in another way (--as_published), each alone and all
           together: RMT, and Transformer-XL + RMT
ablation   what RMT's memory is made of: equal first rows, a causal mask for it, write memory that
           begins as learned rows
"""

from dataclasses import replace
from itertools import product

from rmt.paper.experiments import SEGMENT_5CD, find_row
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import MINI_TOKENS_PER_STEP, plan
from rmt.reproduction.studies.common import (
    ablated,
    both_of_text,
    changed,
    of_table3,
    published,
)

# Of studies that have many runs.
SHORTER = {
    "max_step": 2000,
    "warmup_step": 200,
    "eval_interval": 500,
    "eval_tgt_len": 0,
}
SEGMENTS = (16, 32, 64, 128)  # the first are mini scale's
PARTS_OF_SEGMENT = 8  # one of them is scaled memory


def window(with_data: bool) -> list[Plan]:
    """Replay as in the paper beside window, N 1 and 3, at equal tokens or at equal time.

    steps: the same tokens and as many steps, of N+1 times fewer streams. time: as many steps of as
    many streams, so about replay's time, and N+1 times the tokens. tokens: the same tokens in N+1
    times fewer steps of as many streams.
    """
    base = of_table3("rmt", 10, 1, with_data)
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
            plans.append(changed(base, f"{base.dataset}-{way}-{n}", flags))
    return plans


def segments(with_data: bool) -> list[Plan]:
    """Mini scale's segments of 16, of which a cache of 10 is 62 %, up to the paper's 128 (8 %)."""
    return [own for n in SEGMENTS for own in with_segments(n, with_data).values()]


def with_segments(n: int, with_data: bool) -> dict[str, Plan]:
    """Memory and cache of 10, and neither, with segments of n tokens."""
    bases = both_of_text(with_data) | {"baseline": of_table3("baseline", 0, 0, with_data)}
    return {name: _cut_anew(base, n, name, {}) for name, base in bases.items()}


def segments_scaled(with_data: bool) -> list[Plan]:
    return [own for n in SEGMENTS for own in scaled_with_segments(n, with_data).values()]


def scaled_with_segments(n: int, with_data: bool) -> dict[str, Plan]:
    """Memory and cache of an eighth of a segment, and a cache of 20."""
    bases, m = both_of_text(with_data), n // PARTS_OF_SEGMENT
    return {
        "rmt": _cut_anew(bases["rmt10-bptt1"], n, f"rmt{m}-bptt1", {"mem_len": m}),
        "trxl": _cut_anew(bases["trxl10"], n, f"trxl{m}", {"mem_len": m}),
        "trxl20": _cut_anew(of_table3("trxl", 20, 0, with_data), n, "trxl20", {}),
    }


def _cut_anew(base: Plan, tgt_len: int, name: str, flags: dict) -> Plan:
    """With segments of a length, in as many streams as make a step's tokens, and other flags.

    One that has them is returned as it is, with the name that it has.
    """
    cut = {"tgt_len": tgt_len, "eval_tgt_len": tgt_len}
    cut["batch_size"] = MINI_TOKENS_PER_STEP // tgt_len
    flags = {**cut, **flags}
    if flags.items() <= base.options.items():
        return base
    return changed(base, f"{base.dataset}-segment{tgt_len}-{name}", flags)


def rates(with_data: bool) -> list[Plan]:
    """Mini scale's learning rate of 0.002, its half and its double."""
    bases = both_of_text(with_data)
    plans = list(bases.values())
    for lr in (0.001, 0.004):
        plans += [
            changed(base, f"{base.dataset}-lr{lr}-{name}", {"lr": lr})
            for name, base in bases.items()
        ]
    return plans


def warm_start(with_data: bool) -> list[Plan]:
    """RMT of window's replay, from nothing and from a trained Transformer-XL, and what to compare.

    from nothing: as many steps, and as many as both trainings have together. from Transformer-XL:
    RMT, and Transformer-XL itself once more, for a second schedule helps it, too.
    """
    bases = both_of_text(with_data)
    trxl, rmt = bases["trxl10"], bases["rmt10-bptt1"]
    trained = changed(trxl, f"{trxl.dataset}-short-trxl10", SHORTER)
    nothing = changed(rmt, f"{rmt.dataset}-replay-1", {**SHORTER, "bptt_unrolls": 1})
    longer = {"max_step": 2 * SHORTER["max_step"], "warmup_step": 2 * SHORTER["warmup_step"]}
    plans = [trained, nothing, changed(nothing, f"{nothing.name}-longer", longer)]
    for own in (trained, nothing):
        plans.append(replace(own, name=f"{own.name}-from-trxl10", begins_with=trained))
    whole = changed(rmt, f"{rmt.dataset}-replay-3", {**SHORTER, "bptt_unrolls": 3})
    quarter = SHORTER["max_step"] // 4
    stages = {"curriculum_segments": (1, 2, 4), "curriculum_steps": (quarter, quarter)}
    return [*plans, whole, changed(whole, f"{whole.name}-after-1-2", stages)]


def armt_text(with_data: bool) -> list[Plan]:
    """ARMT on text: with the numbers of a cache of 10, which 40 memory tokens of RMT have, too, and
    with the parameters of RMT, by both rules. Its feed-forward layers are smaller by what its
    memories need."""
    bases = both_of_text(with_data)
    rmt = bases["rmt10-bptt1"]
    arms = {
        "rmt40-bptt1": {"mem_len": 40},
        "armt-small-bptt1": {"d_mem": 5, "dpfp_nu": 1, "memory_update": "delta", "d_inner": 443},
        "armt-bptt1": {"d_mem": 64, "d_inner": 384},
        "armt-delta-bptt1": {"d_mem": 64, "memory_update": "delta", "d_inner": 384},
    }
    plans = list(bases.values())
    for name, flags in arms.items():
        model = {"model": "armt"} if name.startswith("armt") else {}
        plans.append(changed(rmt, f"{rmt.dataset}-128-{name}", model | flags))
    return plans


GRID_MEMORIES, GRID_DEPTHS = (1, 5, 10, 25), (0, 1, 2, 3)


def grid(with_data: bool) -> list[Plan]:
    """Rows of Table 4, and those that it leaves out."""
    return [in_grid(m, depth, with_data) for m, depth in product(GRID_MEMORIES, GRID_DEPTHS)]


def in_grid(memory: int, depth: int, with_data: bool) -> Plan:
    """RMT on WikiText-103 with so many memory tokens, and gradient through so many segments."""
    base = find_row("table4", "rmt", 10, 1, SEGMENT_5CD)
    return plan(replace(base, memory=memory, bptt_unrolls=depth), "mini", with_data)


def as_published(with_data: bool) -> list[Plan]:
    rmt = both_of_text(with_data)["rmt10-bptt1"]
    both = {"model": "trxl_rmt", "cache_len": 10}
    trxl_rmt = changed(rmt, f"{rmt.dataset}-128-trxl_rmt10-cache10-bptt1", both)
    return [
        *published(rmt, "positions", "replay", "init"),
        *published(trxl_rmt, "positions", "cache", "replay", "init"),
    ]


def ablation(with_data: bool) -> list[Plan]:
    return ablated(both_of_text(with_data)["rmt10-bptt1"])
