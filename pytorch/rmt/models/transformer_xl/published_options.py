"""The options of a published checkpoint: from its tensors, and from what its program was told.

Tensors tell the sizes. What no tensor tells (UNTOLD) is in the checkpoint's configuration, Hugging
Face's config.json or the options of LM-RMT's and Transformer-XL's train.py as JSON, or is given.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

from torch import Tensor

from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.published_names import (
    CLUSTER,
    MEMORY,
    each_once,
    n_clusters,
    with_all_names,
)
from rmt.runtime.errors import UsageError

# Options of ours that no tensor tells.
UNTOLD = (
    "model",
    "mem_len",
    "cache_len",
    "cutoffs",
    "pre_lnorm",
    "clamp_len",
    "same_length",
    "read_mem_from_cache",
    "as_published",
    "published_memory",
    "published_cache",
    "published_positions",
    "dropout",
    "dropatt",
)
# Those that are called the same there and mean the same.
SAME_NAME = (
    "cutoffs",
    "pre_lnorm",
    "clamp_len",
    "same_length",
    "read_mem_from_cache",
    "dropout",
    "dropatt",
)
# What is computed otherwise here, whatever the tensors are.
ONLY = {"attn_type": 0, "layer_norm_epsilon": 1e-5}


def published_options(
    theirs: Mapping[str, Tensor],
    config: Mapping,
    given: Mapping,
    usual_cutoffs: Sequence[int] = (),
) -> dict[str, object]:
    """Options of ModelConfig for published weights, those that are not its defaults.

    config: the checkpoint's, under its program's names. given: of UNTOLD; they come first.
    usual_cutoffs: of the data, for weights whose cutoffs nobody says. Weights with memory tokens
    are LM-RMT's, so they mean what that computes: as_published. Raises UsageError where something
    is missing or contradicts the tensors.
    """
    theirs = each_once(with_all_names(theirs))
    told = sizes(theirs, config.get("div_val"))
    check_sizes(told, config)
    n_memory = _shape(theirs, MEMORY, 3)[0] if MEMORY in theirs else 0
    if config.get("num_mem_tokens") not in (None, n_memory):
        raise UsageError(
            f"num_mem_tokens is {config['num_mem_tokens']!r} in the configuration, but the weights "
            f"hold {n_memory} memory tokens: they do not belong together"
        )
    options = {**of_config(config, n_memory), **given}
    if n_memory:
        options.setdefault("as_published", True)
        options.setdefault("model", "rmt")
        if options.setdefault("mem_len", n_memory) != n_memory:
            raise UsageError(
                f"mem_len is {options['mem_len']}, but the weights hold {n_memory} memory tokens"
            )
    elif "model" not in options:
        if "mem_len" not in options:
            raise UsageError(
                "no tensor tells how many states were cached: give the checkpoint's --config, or "
                "--mem_len (0 for a model without a cache)"
            )
        options["model"] = "trxl" if options["mem_len"] else "baseline"
    options["cutoffs"] = cutoffs(theirs, options.get("cutoffs"), usual_cutoffs)
    return options | told


def sizes(theirs: Mapping[str, Tensor], div_val: object = None) -> dict[str, int | bool]:
    """What the tensors tell. div_val: the one of several that they may mean."""
    layers = {found[1] for name in theirs if (found := re.match(r"layers\.(\d+)\.", name))}
    untie_r = "r_w_bias" not in theirs
    n_head, d_head = _shape(theirs, "layers.0.dec_attn.r_w_bias" if untie_r else "r_w_bias", 2)
    d_model, _ = _shape(theirs, "layers.0.dec_attn.o_net.weight", 2)
    d_inner, _ = _shape(theirs, "layers.0.pos_ff.CoreNet.0.weight", 2)
    clusters = _cluster_shapes(theirs)
    d_embed = clusters[0][1]
    return {
        "n_token": sum(n_words for n_words, _ in clusters),
        "n_layer": len(layers),
        "n_head": n_head,
        "d_head": d_head,
        "d_model": d_model,
        "d_embed": 0 if d_embed == d_model else d_embed,
        "d_inner": d_inner,
        "untie_r": untie_r,
        "div_val": _div_val([own for _, own in clusters], div_val),
        "not_tied": "crit.out_layers.0.weight" in theirs,
    }


def check_sizes(told: Mapping[str, int | bool], config: Mapping) -> None:
    """Raise UsageError for a configuration of other weights, or of what is not here."""
    said = {"n_token": config.get("vocab_size")} | config
    if said.get("d_embed") in (-1, told["d_model"]):
        said["d_embed"] = 0
    for name in told.keys() - {"not_tied"}:  # which some configurations say of what they don't have
        if said.get(name) not in (None, told[name]):
            raise UsageError(
                f"{name} is {said[name]!r} in the configuration and {told[name]} in the weights: "
                "they do not belong together"
            )
    for name, value in ONLY.items():
        if config.get(name) not in (None, value):
            raise UsageError(f"{name} {config[name]!r} is not here: only {name} {value}")


def of_config(config: Mapping, n_memory: int) -> dict[str, object]:
    """Options of UNTOLD under our names.

    There, mem_len is the cache's, num_mem_tokens counts the memory's, and mem_at_end says whether
    memory is written. Raises UsageError for values of another kind.
    """
    options = {name: config[name] for name in SAME_NAME if config.get(name) is not None}
    n_cached = config.get("mem_len")
    if n_memory and config.get("mem_at_end") is False:
        if n_cached:
            raise UsageError(
                f"memory that is not written (mem_at_end) beside a cache (mem_len {n_cached}) is "
                "no model here"
            )
        options["model"] = "mt"
    elif n_memory and n_cached:
        options |= {"model": "trxl_rmt", "cache_len": n_cached}
    elif n_cached is not None and not n_memory:
        options["mem_len"] = n_cached
    kinds = {spec.name: spec.type for spec in fields(ModelConfig)}
    for name, value in options.items():
        if name == "cutoffs":
            fits = isinstance(value, list) and all(type(cutoff) is int for cutoff in value)
            options[name] = tuple(value) if fits else ()
        else:
            fits = type(value) is kinds[name] or (kinds[name] is float and type(value) is int)
        if not fits:
            raise UsageError(f"{name} can't be {value!r}, as the configuration has it")
    return options


def cutoffs(
    theirs: Mapping[str, Tensor], known: Sequence[int] | None, usual: Sequence[int]
) -> tuple[int, ...]:
    """Those of the adaptive softmax; () for weights of another softmax.

    With div_val the tensors tell them. Raises UsageError where nobody does, and for others.
    """
    n_tails, n_words = n_clusters(theirs), [n_words for n_words, _ in _cluster_shapes(theirs)]
    if len(n_words) > 1:
        *bounds, _ = itertools.accumulate(n_words)
        if known is not None and list(known) != bounds:
            raise UsageError(
                f"cutoffs {' '.join(map(str, known))} are not those of the weights, "
                f"{' '.join(map(str, bounds))}"
            )
        return tuple(bounds)
    if known is None:
        known = [cutoff for cutoff in usual if cutoff < n_words[0]] if n_tails else ()
        if len(known) != n_tails:
            raise UsageError(
                f"no tensor tells where the {n_tails} clusters of the softmax begin: give the "
                f"checkpoint's --config, or {n_tails} --cutoffs"
            )
    if len(known) != n_tails:
        raise UsageError(
            f"there are {len(known)} cutoffs, but the weights are of {n_tails} clusters"
        )
    return tuple(known)


def _cluster_shapes(theirs: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """How many words, and how many numbers each: of all, or of the head and of every cluster."""
    names = [CLUSTER.format(i) for i in range(1 + n_clusters(theirs))]
    return [_shape(theirs, name, 2) for name in names if name in theirs or name == names[0]]


def _div_val(numbers: list[int], wanted: object) -> int:
    """What the sizes of embeddings are divided by from one cluster to the next."""
    if len(numbers) == 1:
        return 1
    candidates = [
        divisor
        for divisor in range(2, numbers[0] + 2)
        if numbers == [numbers[0] // divisor**i for i in range(len(numbers))]
    ]
    if not candidates:
        raise UsageError(
            f"embeddings of {', '.join(map(str, numbers))} numbers are no div_val's: they should "
            "shrink by one factor"
        )
    return wanted if wanted in candidates else candidates[0]


def _shape(theirs: Mapping[str, Tensor], name: str, n_axes: int) -> tuple[int, ...]:
    """Raises UsageError where there is no such tensor."""
    if name not in theirs:
        raise UsageError(f"{name} is missing: this is no model of Transformer-XL or LM-RMT")
    if theirs[name].dim() != n_axes:
        raise UsageError(f"{name} has {theirs[name].dim()} axes, not {n_axes}")
    return tuple(theirs[name].shape)
