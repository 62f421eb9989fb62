"""Our studies of memory around pretrained models, at mini scale.

wrapped_gpt2  a small GPT-2 trained from nothing on characters in segments of 64, then in segments
              of 16: alone, or with 10 memory tokens around each and gradient through 0, 1 or 3 of
              the segments before
smollm        SmolLM2-135M in segments of 128, with adapters: the same, with 16 memory tokens
smollm_gap    what there is to win back: SmolLM2 untrained, in segments of 128 and of 1,024, and
              trained in segments of 1,024; and memory with four times as many steps
minilm        all-MiniLM-L6-v2 on facts at the beginning of 7 segments (facts.py, memorize): alone
              and with 10 memory tokens

The backbones of all but the first are made by run_scripts/make_backbones.sh.
"""

from dataclasses import replace

from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import MINI_TOKENS_PER_STEP
from rmt.reproduction.studies.common import changed

GPT2 = "run_scripts/gpt2_mini.json"
SMOLLM, MINILM = "data/smollm2-135m", "data/minilm-l6"
# Gradient through so many of the segments before.
DEPTHS = (0, 1, 3)


def wrapped_gpt2(with_data: bool) -> list[Plan]:
    if not with_data:
        return []
    long, short, memory = 64, 16, 10
    common = {
        "dataset": "text",
        "model": "pretrained",
        "backbone": GPT2,
        "optim": "adam",
        "scheduler": "cosine",
        "clip": 0.25,
        "log_interval": 100,
        "save_interval": 300,
    }
    training = {"lr": 0.002, "max_step": 2400, "warmup_step": 200, "eval_interval": 300}
    cut = {"tgt_len": long, "batch_size": MINI_TOKENS_PER_STEP // long}
    base = Plan("mini", "text-gpt2", common | training | cut)
    training = {"lr": 0.001, "max_step": 1200, "warmup_step": 100, "eval_interval": 300}
    cut = {"tgt_len": short, "batch_size": MINI_TOKENS_PER_STEP // short}
    own = replace(base, name="text-gpt2-16", options=common | training | cut, begins_with=base)
    return [base, own, *(_with_memory(own, memory, n) for n in DEPTHS)]


def smollm(with_data: bool) -> list[Plan]:
    """Every step has the 512 tokens of 4 segments: of 4 streams, or of fewer, and gradient passes
    between those of a stream (--bptt_mode window)."""
    if not with_data:
        return []
    n_segments, tgt_len = 4, 128
    alone = Plan(
        "mini",
        "text-smollm2",
        {
            "dataset": "text",
            "tokenizer": f"hf:{SMOLLM}",
            "model": "pretrained",
            "backbone": SMOLLM,
            "lora_rank": 16,
            "precision": "bf16",
            "tgt_len": tgt_len,
            "batch_size": n_segments,
            "optim": "adamw",
            "lr": 0.0005,
            "scheduler": "cosine",
            "warmup_step": 10,
            "clip": 1.0,
            "max_step": 150,
            "eval_interval": 150,
            "eval_batch_size": 4,
            "max_eval_steps": 20,
            "log_interval": 10,
            "save_interval": 20,
        },
    )
    plans = [alone]
    for n in DEPTHS:
        own = _with_memory(alone, 16, n)
        window = {"batch_size": n_segments // (n + 1)} | ({"bptt_mode": "window"} if n else {})
        plans.append(replace(own, options={**own.options, **window}))
    return plans


def smollm_gap(with_data: bool) -> list[Plan]:
    """Untrained is one step at a learning rate of 0, for a run's test is what is wanted of it."""
    if not with_data:
        return []
    alone, _, bptt1, _ = smollm(with_data)
    untrained = {"lr": 0.0, "max_step": 1, "warmup_step": 0}
    long = {"tgt_len": 1024, "batch_size": 1, "eval_batch_size": 1}
    half = {"max_step": alone.options["max_step"] // 2}  # of twice as many tokens
    more = {"max_step": 4 * alone.options["max_step"]}
    return [
        changed(alone, f"{alone.name}-untrained", untrained),
        changed(alone, f"{alone.name}-1024-untrained", untrained | long),
        alone,
        changed(alone, f"{alone.name}-longer", more),
        changed(bptt1, f"{bptt1.name}-longer", more),
        changed(alone, f"{alone.name}-1024", long | half),
    ]


def minilm(_with_data: bool) -> list[Plan]:
    alone = Plan(
        "mini",
        "memorize7-minilm",
        {
            "dataset": "facts",
            "kind": "memorize",
            "answer": "label",
            "tokenizer": f"hf:{MINILM}",
            "model": "encoder",
            "backbone": MINILM,
            "precision": "bf16",
            "sample_len": 7 * 32,
            "tgt_len": 32,
            "batch_size": 16,
            "optim": "adamw",
            "lr": 0.0002,
            "scheduler": "cosine",
            "warmup_step": 50,
            "clip": 1.0,
            "curriculum": -1,
            "max_step": 600,
            "eval_interval": 50,
            "eval_batch_size": 50,
            "max_eval_steps": 4,
            "test_samples": 1000,
            "log_interval": 10,
            "save_interval": 50,
            "stop_at": 0.995,
        },
    )
    return [alone, changed(alone, f"{alone.name}-mem10", {"mem_len": 10})]


def _with_memory(own: Plan, mem_len: int, depth: int) -> Plan:
    flags = {"mem_len": mem_len, "bptt_unrolls": depth}
    return changed(own, f"{own.name}-mem{mem_len}-bptt{depth}", flags)
