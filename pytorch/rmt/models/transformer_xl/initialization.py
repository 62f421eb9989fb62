"""Initial weights of a MemTransformerLM: the same for a seed, as drawn in its modules' order."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rmt.models.transformer_xl.mem_transformer import MemTransformerLM


@torch.no_grad()
def draw_initial_weights(model: "MemTransformerLM") -> None:
    """Draw the initial weights, by default as Transformer-XL does; memory from N(0, 1)."""
    config = model.config

    def draw(weight: Tensor) -> None:
        if config.init == "uniform":
            nn.init.uniform_(weight, -config.init_range, config.init_range)
        elif config.init == "xavier":
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.normal_(weight, 0.0, config.init_std)

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            draw(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, config.init_std)
    for owner in (layer.attention for layer in model.layers) if config.untie_r else [model]:
        draw(owner.content_bias)
        draw(owner.position_bias)
    if config.cutoffs:
        draw(model.softmax.cluster_weight)
    if config.not_tied:
        draw(model.softmax_weight)
    if hasattr(model, "embedding_projection"):
        nn.init.normal_(model.embedding_projection, 0.0, config.proj_init_std)
        nn.init.normal_(model.softmax.projection, 0.0, config.proj_init_std)
    if config.n_memory:
        # Unit variance, as the LayerNorm outputs that take its place from the second segment.
        n_rows = 1 if config.mem_init == "shared" else config.n_memory
        model.memory.copy_(torch.randn(n_rows, config.d_model).expand_as(model.memory))
