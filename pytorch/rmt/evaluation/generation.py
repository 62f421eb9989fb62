"""Generation: a model continues a prompt with its own output, through its decoder alone."""

import torch
from torch import Tensor

from rmt.models.contract import SegmentModel, State


@torch.no_grad()
def generate(
    model: SegmentModel,
    prompt_BP: Tensor,
    n_tokens: int,
    tgt_len: int,
    state: State | None = None,
) -> Tensor:
    """Continue every prompt by its n_tokens most likely tokens, one after the other: [B, n_tokens].

    The model's own output is fed back (free running). The stream is cut into segments of tgt_len
    from its first token on, as in training; the model must be in evaluation mode. state: from the
    end of the segments before the prompt.
    """
    decoder = model.decoder(state, tgt_len, len(prompt_BP))
    fed, said = prompt_BP, []
    for _ in range(n_tokens):
        said.append(decoder.feed(fed).argmax(dim=-1, keepdim=True))
        fed = said[-1]
    return torch.cat(said, dim=1)
