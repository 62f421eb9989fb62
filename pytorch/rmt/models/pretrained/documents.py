"""Whole texts through a MemoryEncoder: cut into segments, read one after the other, classified.

Axes: B texts, N tokens of the longest, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rmt.models.pretrained.causal import Memory
from rmt.models.pretrained.encoder import MemoryEncoder
from rmt.models.pretrained.segments import cut
from rmt.runtime.errors import UsageError


def classify(
    model: MemoryEncoder,
    tokens_BN: Tensor,
    lengths_B: Sequence[int] | Tensor,
    *,
    alignment: str = "right",
    bptt_unrolls: int = -1,
    checkpoint_segments: bool = False,
) -> Tensor:
    """Scores of the classes after each text's last segment: [B, C].

    lengths: of the texts, which stand at the beginning of their rows; 1 or more each. alignment:
    see segments.py. bptt_unrolls: to how many segments before its last one a text's loss sends
    gradient, -1 for all. checkpoint_segments: recompute each segment in the backward pass, which
    needs the memory of one alone; gradients are the same.

    Raises UsageError for wrong lengths.
    """
    if bptt_unrolls < -1:
        raise UsageError(f"bptt_unrolls must be -1 or more, but it is {bptt_unrolls}")
    if min(map(int, lengths_B), default=0) < 1:
        raise UsageError("a text without tokens can't be classified: leave it out")
    parts = cut(tokens_BN, lengths_B, model.config.tgt_len, alignment)
    present_SB = torch.stack([sizes_B > 0 for _, sizes_B in parts])
    # For each text, how many segments of it are still to come.
    left_SB = present_SB.flip(0).cumsum(0).flip(0)
    has_begun_SB = present_SB.cumsum(0) > present_SB.long()
    scores_BC, state = None, None
    for i, (tokens_BT, sizes_B) in enumerate(parts):
        if state is not None and bptt_unrolls >= 0:
            state = _cut_off(state, has_begun_SB[i] & (left_SB[i] > bptt_unrolls))
        if checkpoint_segments and torch.is_grad_enabled():
            new_BC, state = checkpoint(model, tokens_BT, sizes_B, state, use_reentrant=False)
        else:
            new_BC, state = model(tokens_BT, sizes_B, state)
        if scores_BC is None:
            scores_BC = torch.zeros_like(new_BC)
        scores_BC = torch.where(present_SB[i, :, None], new_BC, scores_BC)
    return scores_BC


def _cut_off(state: Memory, streams_B: Tensor) -> Memory:
    """The same state, without gradient in some streams."""
    return state.map(lambda each: torch.where(streams_B[:, None, None], each.detach(), each))
