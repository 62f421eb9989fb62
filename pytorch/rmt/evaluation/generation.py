"""Prediction token by token: what a model says next when it is fed its own output.

Within a segment every layer keeps its keys and values, so that a token costs one new row; the state
is computed once per segment. The cost is linear in the tokens predicted.
"""

import torch
from torch import Tensor

from rmt.models.transformer_xl.mem_transformer import MemTransformerLM, State


class SegmentDecoder:
    """One segment of a MemTransformerLM in evaluation mode, fed a few tokens at a time."""

    def __init__(self, model: MemTransformerLM, state: State | None, n_streams: int, max_len: int):
        """state is the one before the segment; max_len tokens at most will be fed."""
        config = model.config
        self.model = model
        self.cache = (state.cache if state else None) or (None,) * config.n_layer
        self.memory = model.read_memory(state, n_streams) if config.n_memory else None
        self.n_cached = 0 if self.cache[0] is None else self.cache[0].shape[1]
        self.n_tokens, self.max_len = 0, max_len
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * config.n_layer

    def feed(self, tokens_Bt: Tensor) -> Tensor:
        """Return the log-probabilities of what follows the last of these tokens: [B, V]."""
        model = self.model
        x = model.embedded(tokens_Bt)
        if not self.n_tokens and self.memory is not None:
            x = torch.cat([self.memory, x], dim=1)
        self.n_tokens += tokens_Bt.shape[1]
        # Tokens see nothing after themselves, so the write memory can be left out.
        distance_RD, masked_QK = model.positions_and_mask(self.n_cached, self.n_tokens, 0, x)
        masked_QK = masked_QK[-x.shape[1] :]
        biases = (model.content_bias, model.position_bias)
        for i, layer in enumerate(model.layers):
            # Not layer(...), which may be compiled, and would be again for every length.
            x = layer.forward(x, self._keys_values(i, x), distance_RD, biases, masked_QK)
        return model.softmax.log_probs(x[:, -1], *model.word_weights())

    def _keys_values(self, i: int, x_BtD: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's input rows to what it keeps; return all of that."""
        first = self.kept[i] is None
        if first and self.cache[i] is not None:
            x_BtD = torch.cat([self.cache[i], x_BtD], dim=1)
        new = self.model.layers[i].keys_values(x_BtD)
        if first:
            n_kept = self.n_cached + self.model.config.n_memory + self.max_len
            self.kept[i] = tuple(
                part.new_empty(*part.shape[:2], n_kept, part.shape[3]) for part in new
            )
        end = self.n_cached + self.model.config.n_memory + self.n_tokens
        for kept, part in zip(self.kept[i], new, strict=True):
            kept[:, :, end - part.shape[2] : end] = part
        keys, values = (kept[:, :, :end] for kept in self.kept[i])
        return keys, values


@torch.no_grad()
def generate(model: MemTransformerLM, prompt_BP: Tensor, n_tokens: int, tgt_len: int) -> Tensor:
    """Continue every prompt by its n_tokens most likely tokens, one after the other: [B, n_tokens].

    The model's own output is fed back (free running). The stream is cut into segments of tgt_len
    from its first token on, as in training; the model must be in evaluation mode.
    """
    n_streams, n_prompt = prompt_BP.shape
    n_inputs = n_prompt + n_tokens - 1  # the last prediction is not fed back
    stream = prompt_BP.new_empty(n_streams, n_inputs + 1)
    stream[:, :n_prompt] = prompt_BP
    state, known = None, n_prompt
    for start in range(0, n_inputs, tgt_len):
        end = min(start + tgt_len, n_inputs)
        if end >= n_prompt:  # something is predicted here
            decoder = SegmentDecoder(model, state, n_streams, end - start)
            fed = start
            while known <= end:
                stream[:, known] = decoder.feed(stream[:, fed:known]).argmax(dim=-1)
                fed, known = known, known + 1
        if end < n_inputs:
            state = model.advance(stream[:, start:end], state)
    return stream[:, n_prompt:]
