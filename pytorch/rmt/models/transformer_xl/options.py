"""Options of the five Transformer-XL models, and what follows from them without PyTorch.

Names and defaults are those of the Transformer-XL code base where it has the option. An impossible
combination raises UsageError when the object is made, from the command line and from Python alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from rmt.models.options import Carried, ModelOptions
from rmt.models.transformer_xl import operations
from rmt.options.option import (
    check_at_least,
    check_choices,
    check_limit,
    check_probabilities,
    option,
)
from rmt.runtime.errors import UsageError

MODELS = ("baseline", "mt", "trxl", "rmt", "trxl_rmt")
WITH_MEMORY = ("mt", "rmt", "trxl_rmt")
WRITES_MEMORY = ("rmt", "trxl_rmt")
# The option that says how many hidden states are cached.
CACHE_OPTION = {"trxl": "mem_len", "trxl_rmt": "cache_len"}
# Options of memory that tell models apart: in words, where they are not the usual ones.
UNUSUAL = {
    "as_published": "as published",
    "published_memory": "published memory",
    "published_cache": "published cache",
    "published_positions": "published positions",
    "read_mem_from_cache": "memory reads cache",
    "memory_mask": "causal memory",
    "write_from": "learned write memory",
}
LARGE = 1024  # d_model of Transformer-XL's large models, from which on they are evaluated otherwise


@dataclass(frozen=True)
class ModelConfig(ModelOptions):
    """Sizes and recurrence of one model. n_token, the vocabulary size, comes from the data."""

    LENGTHS: ClassVar[tuple[str, ...]] = ("mem_len", "cache_len", "clamp_len", "same_length")
    NOT_SETTINGS: ClassVar[tuple[str, ...]] = ("attention", "pad_sizes")
    # Of the Transformer-XL code base and LM-RMT, what to use instead.
    DROPPED: ClassVar[Mapping[str, str]] = {
        "emb_init": "embeddings start like the other weights (--init)",
        "emb_init_range": "embeddings start like the other weights (--init_range)",
        "ext_len": "it changes no published number; use mem_len",
        "attn_type": "only Transformer-XL's own attention (type 0) is here",
        "num_mem_tokens": "memory tokens are --mem_len with --model rmt, mt or trxl_rmt",
        "mem_at_end": "--model rmt writes memory at the end of a segment, --model mt does not",
    }

    n_token: int = field(metadata={"help": None})
    model: str = option("rmt", "which of the five models", MODELS)
    mem_len: int = option(
        0, "the paper's MEMORY: memory tokens (mt, rmt, trxl_rmt) or cached states (trxl)"
    )
    cache_len: int = option(0, "cached states per layer beside the memory, in tokens (trxl_rmt)")
    read_mem_from_cache: bool = option(False, "memory tokens also attend to the cache (trxl_rmt)")
    mem_init: str = option(
        "distinct",
        "start memory tokens as distinct random rows, or all as one row (as published)",
        ("distinct", "shared"),
    )
    memory_mask: str = option(
        "paper",
        "what rows of memory see: paper: read memory all of its block, write memory all rows of "
        "the segment; causal: of these none after themselves",
        ("paper", "causal"),
    )
    write_from: str = option(
        "memory",
        "what write memory begins as: the memory that is read, as in the paper, or in every "
        "segment the learned rows (rmt, trxl_rmt)",
        ("memory", "learned"),
    )
    as_published: bool = option(
        False, "compute what the published code does where the paper says otherwise: all of these"
    )
    published_memory: bool = option(
        False, "mt: memory rows go on as this segment's outputs of them, without gradient"
    )
    published_cache: bool = option(False, "trxl_rmt: the cache holds rows of memory tokens, too")
    published_positions: bool = option(
        False, "position scores inside a memory block as the published shift leaves them"
    )
    n_layer: int = option(12, "number of layers")
    n_head: int = option(10, "attention heads")
    d_head: int = option(50, "dimension of a head")
    d_model: int = option(500, "dimension of the hidden states; even")
    d_embed: int = option(0, "dimension of the embeddings; 0 means d_model")
    d_inner: int = option(1000, "dimension inside the feed-forward part")
    dropout: float = option(0.0, "dropout on embeddings, positions, sublayer and last outputs")
    dropatt: float = option(0.0, "dropout on attention probabilities")
    untie_r: bool = option(
        False, "every layer has its own biases of content and position, instead of all the same"
    )
    attention: str = option(
        "auto",
        "how rows read: plainly (so far auto is that, too), by PyTorch's flex attention (compiled "
        "layers on a GPU), or by Triton kernels (a GPU); on a CPU always plainly",
        ("auto", "plain", "flex", "triton"),
    )
    pre_lnorm: bool = option(False, "LayerNorm before each sublayer instead of after it")
    not_tied: bool = option(False, "separate softmax weights instead of the embedding's")
    cutoffs: tuple[int, ...] = option(
        (), "adaptive softmax: last word (exclusive) of the head and of every cluster but the last"
    )
    div_val: int = option(
        1, "adaptive softmax: words of cluster i have embeddings of d_embed / div_val^i numbers"
    )
    clamp_len: int = option(-1, "longest relative distance told apart, in tokens; -1: no limit")
    same_length: bool = option(
        False, "every token sees equally many tokens: the last cache length, itself included"
    )
    pad_sizes: str = option(
        "auto",
        "compute in sizes padded with zeros to multiples of 16, which is faster on CUDA (auto: "
        "there); the model stays the same",
        ("auto", "on", "off"),
    )
    init: str = option(
        "normal", "distribution of the initial weights", ("normal", "uniform", "xavier")
    )
    init_range: float = option(0.1, "initial weights in ±init_range (init uniform)")
    init_std: float = option(0.02, "standard deviation of the initial weights (init normal)")
    proj_init_std: float = option(
        0.01,
        "standard deviation of initial embedding projections (d_embed other than d_model; div_val)",
    )

    def __post_init__(self):
        check_choices(self)
        sizes = ("n_token", "n_layer", "n_head", "d_head", "d_model", "d_inner", "div_val")
        check_at_least(self, 1, *sizes)
        check_at_least(self, 0, "mem_len", "cache_len", "d_embed")
        check_at_least(self, 0.0, "init_range", "init_std", "proj_init_std")
        check_probabilities(self, "dropout", "dropatt")
        if self.d_model % 2:
            raise UsageError(
                f"d_model must be even (half sines, half cosines), but it is {self.d_model}"
            )
        self._check_memory()
        self._check_attention()
        if self.div_val > 1 and self.not_tied:
            raise UsageError(
                "embeddings that shrink by cluster (div_val) are shared with the softmax: leave "
                "out not_tied or div_val"
            )
        bounds = (0, *self.cutoffs, self.n_token)
        if any(low >= high for low, high in pairwise(bounds)):
            raise UsageError(
                f"cutoffs {' '.join(map(str, self.cutoffs))} must increase from 1 and stay below "
                f"the vocabulary's {self.n_token} words"
            )

    def _check_memory(self) -> None:
        if self.model == "baseline" and self.mem_len:
            raise UsageError(
                f"the baseline has no memory: leave out mem_len {self.mem_len} or choose "
                "another model"
            )
        if self.model in WITH_MEMORY and not self.mem_len:
            raise UsageError(f"{self.model} needs memory tokens: give mem_len 1 or more")
        if self.cache_len and self.model != "trxl_rmt":
            raise UsageError(
                f"cache_len belongs to trxl_rmt; for {self.model} leave it out"
                + (" (trxl's cache is mem_len)" if self.model == "trxl" else "")
            )
        if self.read_mem_from_cache and self.model != "trxl_rmt":
            raise UsageError(f"read_mem_from_cache belongs to trxl_rmt, not to {self.model}")
        if self.memory_mask != "paper" and not self.n_memory:
            raise UsageError(
                f"memory_mask {self.memory_mask} is about memory tokens, and {self.model} has "
                "none: leave it out"
            )
        if self.write_from != "memory" and not self.writes_memory:
            raise UsageError(
                f"write_from {self.write_from} is about write memory, and {self.model} has none: "
                "leave it out"
            )
        for name in ("published_memory", "published_cache", "published_positions"):
            if getattr(self, name) and name in self.refuses(self.model):
                raise UsageError(f"{name} changes nothing in {self.model}: leave it out")

    def _check_attention(self) -> None:
        check_limit(self, "clamp_len")
        if self.same_length and not self.n_cached:
            raise UsageError(
                "same_length needs cached states (trxl with mem_len, or trxl_rmt with cache_len)"
            )
        if self.same_length and self.caches_memory:
            raise UsageError(
                "same_length counts tokens, but the published cache holds memory rows, too: leave "
                "one of them out"
            )
        if self.attention == "flex" and self.dropatt:
            raise UsageError(
                f"flex attention has no dropout on attention probabilities: leave out dropatt "
                f"{self.dropatt}, or choose another attention"
            )
        if self.attention in ("flex", "triton") and self.shifts_as_published:
            raise UsageError(
                f"attention {self.attention} knows true distances alone: with positions as "
                "published leave it out"
            )

    # What the model is made of

    @property
    def n_memory(self) -> int:
        """Memory tokens before a segment (read memory)."""
        return self.mem_len if self.model in WITH_MEMORY else 0

    @property
    def n_write(self) -> int:
        """Memory tokens after a segment (write memory), whose outputs the next one reads."""
        return self.mem_len if self.writes_memory else 0

    @property
    def n_cached(self) -> int:
        """Hidden states kept per layer, in tokens."""
        return getattr(self, self.cache_option) if self.cache_option else 0

    @property
    def cache_option(self) -> str | None:
        """The option that n_cached comes from; None for models that never have a cache."""
        return CACHE_OPTION.get(self.model)

    @property
    def writes_memory(self) -> bool:
        """Whether write memory carries gradient from a segment to the one before it."""
        return self.model in WRITES_MEMORY

    @property
    def shrinks_embeddings(self) -> bool:
        """Whether the embeddings of rarer words are smaller."""
        return self.div_val > 1 and bool(self.cutoffs)

    @property
    def projects_embeddings(self) -> bool:
        """Whether matrices lie between embeddings and hidden states."""
        return self.shrinks_embeddings or self.d_embed not in (0, self.d_model)

    @property
    def embedding_sizes(self) -> list[tuple[int, int]]:
        """How many words the head and each cluster have, and how many numbers their embeddings.

        With a large div_val the last ones may have no numbers: only their bias tells them apart.
        """
        d_embed, bounds = self.d_embed or self.d_model, (0, *self.cutoffs, self.n_token)
        shrunk_by = self.div_val if self.shrinks_embeddings else 1
        return [
            (high - low, d_embed // shrunk_by**i) for i, (low, high) in enumerate(pairwise(bounds))
        ]

    # What the published code does besides (docs/differences.md)

    @property
    def passes_memory_on(self) -> bool:
        """Whether the outputs of mt's memory rows are the next segment's memory rows."""
        return self.model == "mt" and (self.as_published or self.published_memory)

    @property
    def caches_memory(self) -> bool:
        """Whether the cache holds the rows of memory tokens beside those of tokens."""
        return self.model == "trxl_rmt" and (self.as_published or self.published_cache)

    @property
    def shifts_as_published(self) -> bool:
        """Whether a memory row scores later rows of its block as the published shift does."""
        return self.n_memory > 0 and (self.as_published or self.published_positions)

    # What programs ask (rmt.models.options)

    @property
    def unusual(self) -> list[str]:
        return [UNUSUAL[name] for name in self._unusual_options]

    @property
    def _unusual_options(self) -> list[str]:
        return [name for name in UNUSUAL if getattr(self, name) != getattr(ModelConfig, name)]

    @property
    def label(self) -> str:
        parts = [self.model]
        parts += [f"memory {self.n_memory}"] if self.n_memory else []
        parts += [f"cache {self.n_cached}"] if self.n_cached else []
        return ", ".join([*parts, *self.unusual])

    @property
    def memory(self) -> int:
        return self.mem_len

    @property
    def memory_label(self) -> str:
        return f"{self.mem_len}, cache {self.cache_len}" if self.cache_len else str(self.mem_len)

    @property
    def folder_name(self) -> str:
        cache = f"-cache{self.cache_len}" if self.cache_len else ""
        return f"{self.model}-mem{self.mem_len}{cache}{self.hyphenated(self.unusual)}"

    @property
    def carried(self) -> Carried:
        n_memory = self.n_memory if self.passes_memory_on else self.n_write
        n_numbers = (self.n_cached * self.n_layer + n_memory) * self.d_model
        return Carried(n_numbers, self.writes_memory)

    @property
    def why_sequential(self) -> str | None:
        if self.writes_memory or self.passes_memory_on:
            return (
                f"the first layer of {self.model} needs what the last one made of the segment "
                "before, its memory; models whose layers hand on to themselves are trxl and armt"
            )
        if self.attention in ("flex", "triton"):
            return f"attention {self.attention} is for one layer at a time: leave it out"
        return None

    def in_result(self) -> dict:
        sizes = ("n_layer", "d_model", "n_head", "d_inner")
        own = {name: getattr(self, name) for name in ("model", "mem_len", "cache_len", *sizes)}
        return own | {name: getattr(self, name) for name in self._unusual_options}

    @classmethod
    def refuses(cls, model: str) -> tuple[str, ...]:
        of_cache = ("cache_len", "read_mem_from_cache", "published_cache")
        of_memory = ("mem_init", "memory_mask", "published_positions")
        return (
            *(("mem_len",) if model == "baseline" else ()),
            *(() if model in WITH_MEMORY else of_memory),
            *(() if model in WRITES_MEMORY else ("write_from",)),
            *(() if model == "mt" else ("published_memory",)),
            *(() if model == "trxl_rmt" else of_cache),
        )

    @classmethod
    def lengths(cls, model: str) -> tuple[str, ...]:
        cache = CACHE_OPTION.get(model)
        return (*([cache] if cache else []), "clamp_len", "same_length")

    def lengths_in_evaluation(self, tgt_len: int, eval_tgt_len: int) -> dict:
        """As in Transformer-XL, a cache shrinks or grows by what the evaluation's segments are
        longer or shorter, so that the context, cache and segment together, is that of training."""
        if not self.n_cached:
            return {}
        cache_len = self.n_cached + tgt_len - eval_tgt_len
        if cache_len < 1:
            raise UsageError(
                f"eval_tgt_len {eval_tgt_len} is so much longer than tgt_len {tgt_len} that "
                f"nothing of the cache of {self.n_cached} would be left: choose a shorter one"
            )
        return {self.cache_option: cache_len}

    def published_evaluation(self, dataset: str, lengths: Mapping) -> tuple[int, dict]:
        """That of Transformer-XL's evaluation scripts: segment, cache and clamp_len by the size of
        the model, all with same_length."""
        size = "large" if self.d_model >= LARGE else "base"
        if size not in lengths or not self.n_cached:
            raise UsageError(
                "protocol txl is for models with a cache on wt103, enwik8 and text8, not for "
                f"{self.model} on {dataset}"
            )
        tgt_len, cache_len, clamp_len = lengths[size]
        return tgt_len, {self.cache_option: cache_len, "clamp_len": clamp_len, "same_length": True}

    def segment_operations(self, n_tokens: int, n_streams: int) -> int:
        return operations.layer_flops(self, n_tokens, n_streams)

    def prediction_operations(self, n_tokens: int) -> float:
        return operations.softmax_flops(self, n_tokens)
