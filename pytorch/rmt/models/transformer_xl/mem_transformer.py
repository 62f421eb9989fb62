"""MemTransformerLM: one segment in, its predictions and the state for the next segment out.

The backbone is Transformer-XL (Dai et al. 2019). Memory is a block of rows before the segment
(read memory) and, for rmt and trxl_rmt, the same block after it (write memory), whose outputs are
the next segment's memory (Bulatov et al. 2022, section 3.2):

    baseline  [tokens]                   trxl      [cache | tokens]
    mt        [memory, tokens]           trxl_rmt  [cache | memory, tokens, memory]
    rmt       [memory, tokens, memory]

Axes: B batch, T tokens of the segment, m memory tokens, C cached states, V words; the others are
in attention/.
"""

import importlib.util
import math
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rmt.models.contract import Decoder, Segment, SegmentAttention, State, with_memory
from rmt.models.options import ModelOptions
from rmt.models.scheduled import ScheduledModel
from rmt.models.transformer_xl.adaptive_softmax import AdaptiveSoftmax
from rmt.models.transformer_xl.attention.formula import distance_embeddings, masked_keys
from rmt.models.transformer_xl.attention.layer import ContextProjection, RelativeAttention
from rmt.models.transformer_xl.decoder import KeyValueDecoder
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.initialization import draw_initial_weights
from rmt.models.transformer_xl.layers import FeedForward, Layer
from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.padding import padded, pads
from rmt.models.transformer_xl.word_weights import (
    ShrinkingEmbedding,
    WordEmbedding,
    gradients_in_place,
)
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class MemoryAndCache(State):
    """All that one segment hands to the next; empty for baseline and mt.

    memory: [B, m, D], the write memory, with gradient. cache: one [B, C, D] per layer, the inputs
    of the layer at the last C tokens, without gradient.

    As published, mt has a memory, too, the outputs of its memory rows without gradient
    (published_memory), and the cache of trxl_rmt holds rows of memory tokens (published_cache).
    """

    memory: Tensor | None = None
    cache: tuple[Tensor, ...] | None = None

    def replayed_as_published(self, stored: State | None) -> "MemoryAndCache":
        """The newest memory, with the cache that the first replayed segment had."""
        return replace(self, cache=stored.cache if stored else None)


class MemTransformerLM(ScheduledModel):
    """The five language models of the paper, chosen by config.model."""

    State = MemoryAndCache
    layer_type: ClassVar[type[Layer]] = Layer
    not_decayed: ClassVar = frozenset({"memory"})
    # The innermost part that an operation is in counts: a dropout's, not the feed-forward's.
    parts: ClassVar = {
        "attention": (RelativeAttention, ContextProjection),
        "feed-forward": FeedForward,
        "norm": nn.LayerNorm,
        "softmax": AdaptiveSoftmax,
        "dropout": (Dropout, nn.Dropout),
        "embedding": (nn.Embedding, ShrinkingEmbedding),
    }

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        d_model, d_embed = config.d_model, config.d_embed or config.d_model
        if config.div_val > 1 and not config.shrinks_embeddings:
            raise UsageError(
                f"div_val {config.div_val} makes the embeddings of an adaptive softmax's clusters "
                "smaller, and there are none: give cutoffs that the vocabulary reaches, or leave "
                "div_val out"
            )
        sizes = config.embedding_sizes
        if config.shrinks_embeddings:
            self.embedding = ShrinkingEmbedding(sizes)
        else:
            self.embedding = WordEmbedding(config.n_token, d_embed)
        if config.projects_embeddings:
            width = sum(d for _, d in sizes) if config.shrinks_embeddings else d_embed
            self.embedding_projection = nn.Parameter(torch.zeros(d_model, width))
        self.layers = nn.ModuleList(self.layer_type(config) for _ in range(config.n_layer))
        if not config.untie_r:
            self.content_bias = nn.Parameter(torch.zeros(config.n_head, config.d_head))
            self.position_bias = nn.Parameter(torch.zeros(config.n_head, config.d_head))
        if config.n_memory:
            self.memory = nn.Parameter(torch.zeros(config.n_memory, d_model))
        self.softmax = AdaptiveSoftmax(
            config.n_token, d_model, d_embed, config.cutoffs, config.pad_sizes, config.div_val
        )
        if config.not_tied:
            self.softmax_weight = nn.Parameter(torch.zeros(config.n_token, d_embed))
        self.dropout = Dropout(config.dropout)
        draw_initial_weights(self)

    # The segment contract (rmt.models.contract)

    def forward(
        self, tokens_BT: Tensor, targets_BT: Tensor, state: MemoryAndCache | None = None
    ) -> tuple[Tensor, MemoryAndCache]:
        """Return each target's negative log-probability in nats, [B, T], and the next state.

        A target of -100 is not scored: its loss is 0, without gradient.
        """
        hidden_BTD, state = self._segment(tokens_BT, state, predict=True)
        return self.nll(hidden_BTD, targets_BT), state

    def advance(self, tokens_BT: Tensor, state: MemoryAndCache | None = None) -> MemoryAndCache:
        """Return the next state alone; nothing that serves only predictions is computed."""
        return self._segment(tokens_BT, state, predict=False)[1]

    def predict(
        self, tokens_BT: Tensor, state: MemoryAndCache | None = None
    ) -> tuple[Tensor, MemoryAndCache]:
        """Return the log-probability of every word as next token, [B, T, V], and the next state."""
        hidden_BTD, state = self._segment(tokens_BT, state, predict=True)
        return self.log_probs(hidden_BTD), state

    def nll(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        nll = self.softmax(
            hidden_BTD.flatten(0, 1),
            targets_BT.flatten(),
            *self.word_weights(),
            rooms=self.rooms_given,
        )
        return nll.view_as(targets_BT)

    def log_probs(self, hidden_BTD: Tensor) -> Tensor:
        log_probs = self.softmax.log_probs(hidden_BTD.flatten(0, 1), *self.word_weights())
        return log_probs.unflatten(0, hidden_BTD.shape[:2])

    def diagonal_each(
        self, segments: Iterable[Segment], state: MemoryAndCache | None
    ) -> Iterator[tuple[Tensor, Tensor | None, MemoryAndCache]]:
        from rmt.models.transformer_xl.diagonal import CachesDiagonally  # which groups our layers

        return CachesDiagonally(self).each(segments, state)

    def compile(self, **options) -> None:
        """Let torch.compile fuse the layers: they are alike, so that one serves for all of a shape.

        options are those of torch.compile. The softmax and what is between the layers stay as they
        are, and so does decoding, whose lengths change with every token.
        Raises UsageError where there is no C++ compiler, or on a GPU no Triton.
        """
        compiler, *_ = shlex.split(os.environ.get("CXX") or "g++")  # may begin with ccache
        if shutil.which(compiler) is None:
            raise UsageError(
                f"--compile needs a C++ compiler, but there is no {compiler}: install one"
            )
        if next(self.parameters()).is_cuda and importlib.util.find_spec("triton") is None:
            raise UsageError("--compile needs Triton on a GPU, and it is not installed here")
        # A cache that fills, replayed segments and evaluation all have shapes of their own.
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        for layer in self.layers:
            layer.compile(**{"dynamic": False} | options)

    def decoder(self, state: MemoryAndCache | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """One that keeps keys and values within a segment.

        With positions as published what memory rows are depends on the segment's length, so there
        is nothing to keep.
        """
        if self.config.shifts_as_published:
            return Decoder(self, state, tgt_len, n_streams)
        return KeyValueDecoder(self, state, tgt_len, n_streams)

    def accumulating_gradients(self) -> AbstractContextManager:
        """The word weights' gradient is made in place (word_weights.py)."""
        return gradients_in_place()

    def rooms(self, targets_BT: Tensor) -> tuple[int, ...]:
        """Places for the targets of each tail cluster of the adaptive softmax."""
        return self.softmax.rooms(targets_BT)

    @torch.no_grad()
    def attention(
        self, tokens_1T: Tensor, state: MemoryAndCache | None, predict: bool
    ) -> tuple[SegmentAttention, MemoryAndCache]:
        """What every layer attends to in a segment of one stream, and the next state."""
        config, regions = self.config, self.regions(tokens_1T.shape[1], state)
        weights: list[Tensor] = []
        _, state = self._segment(tokens_1T, state, predict=predict, record=weights)
        layers = [each[:, 0].float().cpu().numpy() for each in weights]
        # A layer that nothing reads was not computed.
        nothing = np.zeros((config.n_head, 0, sum(regions.values())))
        layers = (*layers, *[nothing] * (config.n_layer - len(layers)))
        return SegmentAttention(layers, regions), state

    def regions(self, n_tokens: int, state: MemoryAndCache | None) -> dict[str, int]:
        """How many keys of a segment are cache, read memory, tokens and write memory."""
        cache = self.cache_seen(state)
        return {
            "cache": cache[0].shape[1] if cache else 0,
            "read": self.config.n_memory,
            "tokens": n_tokens,
            "write": self.config.n_write,
        }

    def cache_seen(self, state: MemoryAndCache | None) -> tuple[Tensor, ...] | None:
        """The cache that a segment sees: of a longer one, made under other lengths, its end."""
        n_cached = self.config.n_cached
        if state is None or state.cache is None or not n_cached:
            return None
        return tuple(own[:, -n_cached:] for own in state.cache)

    # Inside one segment

    def _segment(
        self,
        tokens_BT: Tensor,
        state: MemoryAndCache | None,
        predict: bool,
        record: list[Tensor] | None = None,
    ) -> tuple[Tensor | None, MemoryAndCache]:
        """Run the layers; return the tokens' last hidden states (if predict) and the next state.

        record: a list to which every layer that is computed adds its attention weights.
        """
        config = self.config
        n_tokens = tokens_BT.shape[1]
        n_read, n_write = config.n_memory, config.n_write
        state = self.state_before(tokens_BT, state)
        if not n_tokens:
            return self.embedded(tokens_BT), state
        cache = self.cache_seen(state)
        n_last = self.n_rows_read(n_tokens, predict)
        if not n_last and not config.n_cached:
            return None, MemoryAndCache()

        x = self.input_rows(tokens_BT, state)
        n_rows = x.shape[1]
        n_context = cache[0].shape[1] if cache else 0
        distance_RD, masked_QK = self.positions_and_mask(n_context, n_tokens, n_write, x)

        next_cache = []
        for i, layer in enumerate(self.layers):
            context = torch.cat([cache[i], x], dim=1) if cache else x
            if config.n_cached:
                new = x if config.caches_memory else x[:, n_read : n_read + n_tokens]
                next_cache.append(self._last_rows(cache[i] if cache else None, new.detach()))
            n_queries = n_last if i == config.n_layer - 1 else n_rows
            if n_queries:
                x = layer(
                    x if n_queries == n_rows else x[:, -n_queries:],
                    context,
                    distance_RD,
                    self.biases(layer),
                    masked_QK[-n_queries:],
                    record,
                )

        out = self.dropout(x)
        memory = out[:, -n_write:] if n_write else None
        if config.passes_memory_on:
            memory = out[:, :n_read].detach()
        next_state = MemoryAndCache(memory, tuple(next_cache) or None)
        return (out[:, -n_tokens - n_write :][:, :n_tokens] if predict else None), next_state

    def _last_rows(self, old_BCD: Tensor | None, new_BRD: Tensor) -> Tensor:
        """The next cache. Not a view, which would keep all of a segment's rows in memory."""
        n_cached = self.config.n_cached
        n_old = n_cached - new_BRD.shape[1]
        parts = [] if old_BCD is None or n_old <= 0 else [old_BCD[:, -n_old:]]
        return torch.cat([*parts, new_BRD[:, -n_cached:]], dim=1)

    def n_rows_read(self, n_tokens: int, predict: bool) -> int:
        """How many of the last layer's rows, counted from the end, anything reads.

        The read memory's never, the tokens' for predictions only. No others are computed.
        """
        if self.config.passes_memory_on:
            return self.config.n_memory + n_tokens
        return (n_tokens if predict else 0) + self.config.n_write

    def input_rows(self, tokens_BT: Tensor, state: MemoryAndCache | None) -> Tensor:
        """Embed the tokens and put memory around them: [B, rows, D]."""
        config, n_streams = self.config, len(tokens_BT)
        x = self.embedded(tokens_BT)
        if config.n_memory:
            rows = [memory := self.read_memory(state, n_streams), x]
            if config.writes_memory:
                is_copy = config.write_from == "memory"
                rows.append(memory if is_copy else self.memory.expand(n_streams, -1, -1))
            x = torch.cat(rows, dim=1)
        return self.dropout(x)

    def embedded(self, tokens_BT: Tensor) -> Tensor:
        """The tokens as rows of the first layer, before dropout: [B, T, D]."""
        x = self.embedding(tokens_BT)
        d_model = self.config.d_model
        if hasattr(self, "embedding_projection"):
            projection_DE = self.embedding_projection
            if pads(self.config.pad_sizes, x):
                x, projection_DE = padded(x, -1), padded(projection_DE, -2, -1)
            x = (x @ projection_DE.T)[..., :d_model]
        return x * math.sqrt(d_model)

    def read_memory(self, state: MemoryAndCache | None, n_streams: int) -> Tensor:
        """The memory that a segment starts with, the state's or the initial one: [B, m, D]."""
        if state is None or state.memory is None:
            return self.memory.expand(n_streams, -1, -1)
        return state.memory

    def positions_and_mask(
        self, n_context: int, n_tokens: int, n_write: int, x: Tensor, *, n_empty: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Distance embeddings [R, D] and mask [rows, K] of a segment; x gives dtype and device.

        n_empty: rows at the context's beginning that hold nothing.
        """
        config = self.config
        distance_RD = distance_embeddings(
            n_context + config.n_memory + n_tokens + n_write,
            max(1, config.n_memory),  # memory rows look ahead; align_distances needs at least 1
            config.d_model,
            config.clamp_len,
            x.dtype,
            x.device,
        )
        masked_QK = masked_keys(
            n_context,
            config.n_memory,
            n_tokens,
            n_write,
            memory_sees_cache=config.read_mem_from_cache,
            memory_is_causal=config.memory_mask == "causal",
            window=config.n_cached if config.same_length else None,
            n_empty=n_empty,
            device=x.device,
        )
        return self.dropout(distance_RD), masked_QK

    def biases(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """The content and the position bias of a layer's attention, [H, d] each."""
        owner = layer.attention if self.config.untie_r else self
        return owner.content_bias, owner.position_bias

    def word_weights(self) -> tuple[Tensor | tuple[Tensor, ...], Tensor | None]:
        """What the softmax shares with the embedding: its weights [V, E] and projection.

        Embeddings that shrink are one matrix for the head and one for each cluster.
        """
        if self.config.shrinks_embeddings:
            weight = tuple(cluster.weight for cluster in self.embedding.clusters)
        else:
            weight = self.softmax_weight if self.config.not_tied else self.embedding.weight
        return weight, getattr(self, "embedding_projection", None)

    # Weights of others, and sizes

    def weights_from(
        self, others: Mapping[str, Tensor], options: ModelOptions
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Every model of this family may begin with every other: they differ by their memory alone.

        A cache has no weights.
        """
        return with_memory(self, others, options)

    def n_layer_parameters(self) -> int:
        """Parameters inside the layers, the figure published as non-embedding parameters."""
        return sum(parameter.numel() for parameter in self.layers.parameters())
