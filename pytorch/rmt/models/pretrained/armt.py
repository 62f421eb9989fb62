"""An associative memory around each layer of a pretrained causal language model (ARMT).

A segment is given to the backbone as rows [tokens, memory], causal. Its memory tokens begin with
the learned rows every time; what one segment hands to the next is the associative memory (A, z) of
every layer. A layer of the backbone reads its memory at all rows, before all that it does, and what
it makes of the memory rows is written (Rodkin et al. 2024; rmt.models.associative).

A new memory holds values of 0 only. So before it is trained the model predicts what its backbone
does of each segment alone: tokens don't see the memory rows behind them, and stand at the
backbone's own positions, from 0 on.

Axes: B batch, T tokens of the segment, m memory tokens, R rows, D hidden size.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rmt.models.associative.memory import memory_of
from rmt.models.associative.state import Associations
from rmt.models.contract import Decoder, evaluating
from rmt.models.options import Carried
from rmt.models.pretrained import layout
from rmt.models.pretrained.backbone import bare, text_config
from rmt.models.pretrained.decoder import AssociativeDecoder
from rmt.models.pretrained.language_model import BackboneLM
from rmt.models.pretrained.layers import LayerMemory, layers_of, remembering
from rmt.models.pretrained.options import AssociativeBackboneOptions
from rmt.runtime.errors import UsageError


class PretrainedARMT(BackboneLM):
    """A pretrained language model whose layers have associative memories."""

    State = Associations

    def __init__(self, config: AssociativeBackboneOptions, backbone: nn.Module):
        """Raises UsageError for a backbone whose layers can't be told."""
        super().__init__(config, backbone)
        d_model, like = text_config(backbone).hidden_size, self.embedding.weight
        memories = [memory_of(config, d_model) for _ in layers_of(backbone)]
        self.memories = nn.ModuleList(memories).to(like.device, like.dtype).train(self.training)
        self._check_layers()

    def decoder(self, state: Associations | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """One that keeps the backbone's keys and values within a segment."""
        return AssociativeDecoder(self, state, tgt_len, n_streams)

    @property
    def carries(self) -> Carried:
        of_layer = self.config.n_kept(text_config(self.backbone).hidden_size)
        return Carried(len(self.memories) * of_layer, gradient=True)

    def rows_of_segment(self, n_tokens: int) -> tuple[int, str]:
        n_memory = self.config.mem_len
        return n_tokens + n_memory, f"{n_tokens} tokens and {n_memory} of memory"

    def empty_state(self, n_streams: int) -> Associations:
        """What a stream starts with: memories of zeros."""
        return Associations.of([memory.empty(n_streams) for memory in self.memories])

    # Inside one segment

    def _segment(
        self, tokens_BT: Tensor, state: Associations, lengths_B: Tensor | None
    ) -> tuple[Tensor, Associations]:
        n_memory, (n_streams, n_tokens) = self.config.mem_len, tokens_BT.shape
        x = self.embedding(tokens_BT)
        x = torch.cat([x, self.memory.expand(n_streams, -1, -1)], dim=1)
        places_Bm = None
        if lengths_B is not None:
            x = layout.taken(x, layout.order_of_rows(0, n_tokens, n_memory, lengths_B))
            places_Bm = layout.rows_of_write_memory(0, n_memory, lengths_B)

        def memory_rows(out_BRD: Tensor) -> Tensor:
            return out_BRD[:, -n_memory:] if places_Bm is None else layout.taken(out_BRD, places_Bm)

        positions_1R = torch.arange(x.shape[1], device=x.device)[None]
        out, after = self.remember(
            x, state, memory_rows, position_ids=positions_1R, use_cache=False
        )
        if lengths_B is not None:
            after = after.where(lengths_B > 0, state)
        return out[:, :n_tokens], after

    def remember(
        self,
        x_BRD: Tensor,
        state: Associations,
        memory_rows: Callable[[Tensor], Tensor] | None,
        **inputs,
    ) -> tuple[Tensor, Associations]:
        """The backbone's last hidden states of the rows x, [B, R, D], and the next state.

        memory_rows: those that each layer writes, of what it makes of all; None: none.
        """
        memories = [
            LayerMemory(memory, state.of_layer(i), memory_rows)
            for i, memory in enumerate(self.memories)
        ]
        with remembering(layers_of(self.backbone), memories):
            out = self.layers(x_BRD, **inputs).last_hidden_state
        return out, Associations.of([memory.state for memory in memories])

    @torch.no_grad()
    def _check_layers(self) -> None:
        """Raise UsageError where the backbone does not compute with what seem to be its layers."""
        empty = self.empty_state(1)
        with evaluating(self):
            after = self.advance(self._two_words(), empty)
        if any(new is old for new, old in zip(after.A, empty.A, strict=True)):
            raise UsageError(
                f"{type(bare(self.backbone)).__name__} computes with other layers than those that "
                "memories were put around: choose another backbone"
            )
