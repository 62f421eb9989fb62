"""Small random models of every kind: our own, and one by the contract's defaults."""

import torch

from helpers import gru
from helpers.models import ON_BACKBONE, V, tiny_model
from rmt.models import registry
from rmt.models.contract import SegmentModel

MODELS = [*ON_BACKBONE, "gru"]


def any_model(name: str, seed: int = 0, **changes) -> SegmentModel:
    """In float64 and evaluation mode, with V words."""
    if name != "gru":
        return tiny_model(name, seed, **changes)
    torch.manual_seed(seed)
    return registry.build(gru.GRUOptions(n_token=V, d_model=6)).double().eval()
