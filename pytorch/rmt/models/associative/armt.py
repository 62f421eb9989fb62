"""armt: the Associative Recurrent Memory Transformer (Rodkin et al. 2024).

A segment is [tokens | memory]. Its memory tokens begin with the learned rows every time; what one
segment hands to the next is the associative memory (A, z) of every layer (memory.py). A layer reads
its memory at all rows, does what a Transformer-XL layer does, and writes what comes out at the
memory rows. The m memory rows follow the T tokens in position and in what is seen, as the public
code has it (two of them, three tokens; rows attend to columns marked x):

            t t t m m
        t   x . . . .
        t   x x . . .
        t   x x x . .
        m   x x x x .
        m   x x x x x

So they are rows like the others to the attention, and tokens don't see them. rmt's write memory
differs in one thing: there a memory row sees those after it, too.

Axes are in this folder's __init__.py; T tokens of the segment.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from rmt.models.associative.decoder import AssociativeDecoder
from rmt.models.associative.memory import AssociativeMemory, Memory, memory_of
from rmt.models.associative.options import AssociativeConfig
from rmt.models.associative.state import Associations
from rmt.models.contract import Decoder, Segment
from rmt.models.options import ModelOptions
from rmt.models.transformer_xl.layers import Layer
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM


class AssociativeLayer(Layer):
    """A Transformer-XL layer with an associative memory, read before it and written after it."""

    def __init__(self, config: AssociativeConfig):
        super().__init__(config)
        self.n_memory = config.mem_len
        self.memory = memory_of(config, config.d_model, config.pad_sizes)

    def forward(
        self,
        x_BND: Tensor,
        memory: Memory,
        distance_RD: Tensor,
        biases_2Hd: tuple[Tensor, Tensor],
        masked_QN: Tensor,
        record: list[Tensor] | None = None,
    ) -> tuple[Tensor, Memory]:
        """The last Q rows' new hidden states, [B, Q, D], and the memory for the next segment.

        x: the rows of the whole segment. Of other segments a layer knows its memory alone.
        """
        x_BND = self.remember(x_BND, memory)
        x_BQD = x_BND[:, -masked_QN.shape[-2] :]
        x_BQD = super().forward(x_BQD, x_BND, distance_RD, biases_2Hd, masked_QN, record)
        return x_BQD, self.memory.write(x_BQD[:, -self.n_memory :], *memory)

    def remember(self, x_BND: Tensor, memory: Memory) -> Tensor:
        """The rows, to each of which is added what the memory knows of it."""
        return x_BND + self.memory.read(x_BND, *memory)


class AssociativeMemoryLM(MemTransformerLM):
    """A Transformer-XL without a cache, whose layers have associative memories."""

    State = Associations
    layer_type = AssociativeLayer
    parts: ClassVar = {**MemTransformerLM.parts, "memory": AssociativeMemory}

    def __init__(self, config: AssociativeConfig):
        super().__init__(config)
        self.memory = nn.Parameter(torch.zeros(config.mem_len, config.d_model))
        self._initialize_memory()

    def decoder(self, state: Associations | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """One that keeps keys and values within a segment."""
        return AssociativeDecoder(self, state, tgt_len, n_streams)

    def diagonal_each(
        self, segments: Iterable[Segment], state: Associations | None
    ) -> Iterator[tuple[Tensor, Tensor | None, Associations]]:
        from rmt.models.associative.diagonal import MemoriesDiagonally  # which groups our layers

        return MemoriesDiagonally(self).each(segments, state)

    def empty_state(self, n_streams: int) -> Associations:
        """What a stream starts with: memories of zeros."""
        return Associations.of([layer.memory.empty(n_streams) for layer in self.layers])

    def regions(self, n_tokens: int, state: Associations | None) -> dict[str, int]:
        return {"cache": 0, "read": 0, "tokens": n_tokens, "write": self.config.mem_len}

    def _segment(
        self,
        tokens_BT: Tensor,
        state: Associations | None,
        predict: bool,
        record: list[Tensor] | None = None,
    ) -> tuple[Tensor | None, Associations]:
        """Run the layers; return the tokens' last hidden states (if predict) and the next state.

        record: a list to which every layer adds its attention weights.
        """
        n_tokens = tokens_BT.shape[1]
        state = self.state_before(tokens_BT, state)
        if not n_tokens:
            return self.embedded(tokens_BT), state

        x = self.input_rows(tokens_BT, state)
        distance_RD, masked_NN = self.positions_and_mask(0, x.shape[1], 0, x)

        memories = []
        for i, layer in enumerate(self.layers):
            # Of the last layer nothing but its memory rows is read where nothing is predicted.
            is_last = i == len(self.layers) - 1
            n_queries = x.shape[1] if predict or not is_last else self.config.mem_len
            x, memory = layer(
                x,
                state.of_layer(i),
                distance_RD,
                self.biases(layer),
                masked_NN[-n_queries:],
                record,
            )
            memories.append(memory)

        hidden_BTD = self.dropout(x[:, :n_tokens]) if predict else None
        return hidden_BTD, Associations.of(memories)

    def input_rows(self, tokens_BT: Tensor, state: Associations | None) -> Tensor:
        """Embed the tokens and put the memory tokens after them: [B, T + m, D]."""
        x = self.embedded(tokens_BT)
        return self.dropout(torch.cat([x, self.memory.expand(len(x), -1, -1)], dim=1))

    # Initial weights

    def weights_from(
        self, others: Mapping[str, Tensor], options: ModelOptions
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """As the other models of the backbone; associative memories that those have not are new."""
        weights, changes = super().weights_from(others, options)
        for name, own in self.layers.state_dict(prefix="layers.").items():
            if name not in weights and ".memory." in name:
                weights[name] = own
                changes[name] = f"new, {options.model} has none"
        return weights, changes

    @torch.no_grad()
    def _initialize_memory(self) -> None:
        """Memory tokens as large as the rows of words beside them; memories that know nothing."""
        commonest = torch.arange(min(self.config.n_token, 1000), device=self.memory.device)
        self.memory.copy_(self.embedded(commonest[None]).std() * torch.randn_like(self.memory))
        for layer in self.layers:
            layer.memory.start_silent()
