"""Memory around a pretrained causal language model: the Recurrent Memory Transformer.

A segment is given to the backbone as rows [read memory, tokens, write memory]. The write memory's
last hidden states are the next segment's memory (Bulatov et al. 2022, section 3.2); layout.py has
the rows' positions and what they see. With mem_len 0 it is the backbone, bit for bit.

Axes: B batch, T tokens of the segment, m memory tokens, D hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmt.models.contract import Decoder, State, evaluating
from rmt.models.options import Carried
from rmt.models.pretrained import layout
from rmt.models.pretrained.backbone import bare, text_config
from rmt.models.pretrained.decoder import KeyValueDecoder
from rmt.models.pretrained.language_model import BackboneLM
from rmt.models.pretrained.options import PretrainedOptions
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Memory(State):
    """memory: [B, m, D], the write memory, with gradient; None for a model without memory."""

    memory: Tensor | None = None


def memory_before(state: Memory | None, initial_mD: Tensor, n_streams: int) -> Tensor:
    """The memory that a segment starts with, the state's or the initial one: [B, m, D]."""
    if state is None or state.memory is None:
        return initial_mD.expand(n_streams, -1, -1)
    return state.check_streams(n_streams).memory


class PretrainedLM(BackboneLM):
    """A pretrained language model that hands memory tokens from segment to segment."""

    State = Memory

    def __init__(self, config: PretrainedOptions, backbone: nn.Module):
        """Raises UsageError for a backbone that memory can't be put around."""
        super().__init__(config, backbone)
        if config.memory_mask == "paper":
            self._check_mask()

    def advance(
        self, tokens_BT: Tensor, state: Memory | None = None, lengths_B: Tensor | None = None
    ) -> Memory:
        return super().advance(tokens_BT, state, lengths_B) if self.config.mem_len else Memory()

    def decoder(self, state: Memory | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """One that keeps the backbone's keys and values within a segment."""
        return KeyValueDecoder(self, state, tgt_len, n_streams)

    @property
    def carries(self) -> Carried:
        mem_len = self.config.mem_len
        return Carried(mem_len * text_config(self.backbone).hidden_size, gradient=mem_len > 0)

    def rows_of_segment(self, n_tokens: int) -> tuple[int, str]:
        n_memory = self.config.mem_len
        what = f"{n_tokens} tokens and twice {n_memory} of memory" if n_memory else "the tokens"
        return n_tokens + 2 * n_memory, what

    # Inside one segment

    def _segment(
        self, tokens_BT: Tensor, state: Memory, lengths_B: Tensor | None
    ) -> tuple[Tensor, Memory]:
        n_memory, (n_streams, n_tokens) = self.config.mem_len, tokens_BT.shape
        x = self.embedding(tokens_BT)
        if n_memory:
            before = self.read_memory(state, n_streams)
            x = torch.cat([before, x, before], dim=1)
        if lengths_B is not None and n_memory:
            x = layout.taken(x, layout.order_of_rows(n_memory, n_tokens, n_memory, lengths_B))
        mask = None  # the backbone's own, which is causal
        if self.config.memory_mask == "paper":
            mask = self.paper_mask(x, n_memory, self._lengths(tokens_BT, lengths_B))
        out = self.layers(
            x,
            attention_mask=mask,
            position_ids=torch.arange(x.shape[1], device=x.device)[None],
            use_cache=False,
        ).last_hidden_state
        hidden_BTD = out[:, n_memory : n_memory + n_tokens]
        if not n_memory:
            return hidden_BTD, Memory()
        if lengths_B is None:
            return hidden_BTD, Memory(out[:, -n_memory:])
        after = layout.taken(out, layout.rows_of_write_memory(n_memory, n_memory, lengths_B))
        return hidden_BTD, Memory(torch.where(lengths_B[:, None, None] > 0, after, before))

    @staticmethod
    def _lengths(tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        if lengths_B is not None:
            return lengths_B
        n_streams, n_tokens = tokens_BT.shape
        return torch.full((n_streams,), n_tokens, device=tokens_BT.device)

    def paper_mask(self, x_BRD: Tensor, n_write: int, lengths_B: Tensor) -> Tensor:
        """attention_mask of the rows x with the paper's memory: [B, 1, R, R]."""
        n_memory, n_rows = self.config.mem_len, x_BRD.shape[1]
        sees_BQK = layout.paper_mask(n_memory, n_write, n_rows, lengths_B)
        return layout.added_to_scores(sees_BQK, x_BRD.dtype)

    def read_memory(self, state: Memory | None, n_streams: int) -> Tensor:
        """The memory that a segment starts with: [B, m, D]."""
        return memory_before(state, self.memory, n_streams)

    @torch.no_grad()
    def _check_mask(self) -> None:
        """Raise UsageError where the backbone does not do what a mask of four axes says."""
        model = bare(self.backbone)
        if getattr(text_config(model), "sliding_window", None):
            raise UsageError(
                f"memory_mask paper is not for {type(model).__name__}, whose layers see a sliding "
                "window: use memory_mask causal"
            )
        if not self._lets_a_row_see_the_next():
            raise UsageError(
                f"{type(model).__name__} takes no mask that lets a row see the next one: use "
                "memory_mask causal, or load it with attn_implementation='sdpa'"
            )

    def _lets_a_row_see_the_next(self) -> bool:
        """Whether a mask of four axes changes what the first of two rows is."""
        with evaluating(bare(self.backbone)):
            x = self.embedding(self._two_words())
            mask = torch.zeros(1, 1, 2, 2, dtype=x.dtype, device=x.device)
            alone = self.layers(x[:, :1]).last_hidden_state[:, 0]
            try:
                ahead = self.layers(x, attention_mask=mask).last_hidden_state[:, 0]
            except Exception:  # each kind of backbone has its own for a mask that it can't take
                return False
        return not torch.allclose(ahead, alone)
