"""Small random models whose layers hand on to themselves, as a diagonal schedule needs it."""

import torch

from helpers.models import V
from rmt.models import registry
from rmt.models.contract import SegmentModel

LAYER_LOCAL = {
    "trxl": {"mem_len": 9},
    "armt": {"mem_len": 2, "d_mem": 4},
    "baseline": {},
    "mt": {"mem_len": 2},
}
SIZES = {"n_layer": 3, "n_head": 2, "d_head": 4, "d_model": 8, "d_inner": 12}


def layer_local(name: str, **changes) -> SegmentModel:
    """In float64 and evaluation mode, with V words."""
    torch.manual_seed(0)
    sizes = SIZES | LAYER_LOCAL[name] | changes
    options = registry.find(name).options(n_token=V, model=name, **sizes)
    model = registry.build(options).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model
