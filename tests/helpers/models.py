"""Small random models for the tests."""

import torch

from rmt.models import registry
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig

V = 23

# Every model of the paper with lengths that make its cache grow over several segments of 5 to 7
# tokens.
LENGTHS = {
    "baseline": {},
    "mt": {"mem_len": 2},
    "trxl": {"mem_len": 9},
    "rmt": {"mem_len": 3},
    "trxl_rmt": {"mem_len": 2, "cache_len": 9},
}
# And the others that are made of Transformer-XL's layers.
ON_BACKBONE = {**LENGTHS, "armt": {"mem_len": 3, "d_mem": 4}}


def tiny_config(model: str, **changes) -> ModelConfig:
    sizes = {"n_token": V, "n_layer": 3, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 12}
    options = registry.find(model).options
    return options(model=model, **(sizes | ON_BACKBONE[model] | changes))


def tiny_model(model: str, seed: int = 0, **changes) -> MemTransformerLM:
    """A float64 model in evaluation mode with weights large enough for every term to matter."""
    torch.manual_seed(seed)
    result = registry.build(tiny_config(model, **changes)).double().eval()
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return result


def tiny_segments(lengths, n_streams: int = 2, seed: int = 1):
    """Random tokens and targets, [n_streams, length] each, for every length."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randint(V, (n_streams, length), generator=generator)

    return [(draw(length), draw(length)) for length in lengths]
