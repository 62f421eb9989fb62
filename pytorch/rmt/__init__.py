"""Recurrent Memory Transformer on the Transformer-XL backbone.

Source: Bulatov, Kuratov, Burtsev, "Recurrent Memory Transformer", NeurIPS 2022.

    model = rmt.load("runs/my-run")     # a trained model, in evaluation mode, with its vocabulary
    model = rmt.build(rmt.ModelConfig(n_token=256, model="rmt", mem_len=10))     # a new one
    tokens = rmt.sample(model, ids, 100)        # its continuation of ids, token by token
    state = rmt.read(model, ids)                # what it keeps of them, to go on from

Names are imported when they are first used, so that `import rmt` is fast and needs no PyTorch.
"""

import importlib

from rmt.runtime.errors import end_quietly_while_importing

_PLACES = {
    "load": "rmt.runs.trained",
    "build": "rmt.models.registry",
    # Not generate: that is the program, rmt.generate, and a module has but one thing by a name.
    "sample": "rmt.evaluation.sampling",
    "sample_batch": "rmt.evaluation.sampling",
    "read": "rmt.evaluation.stream",
    "StreamState": "rmt.evaluation.stream",
    "State": "rmt.models.contract",
    "ModelConfig": "rmt.models.transformer_xl.options",
    "MemTransformerLM": "rmt.models.transformer_xl.mem_transformer",
    # Memory around a pretrained model; these need the packages of rmt[hf].
    "wrap": "rmt.models.pretrained.wrapping",
    "wrap_armt": "rmt.models.pretrained.wrapping",
    "wrap_encoder": "rmt.models.pretrained.wrapping",
    "classify": "rmt.models.pretrained.documents",
    "save_pretrained": "rmt.models.pretrained.saving",
    "from_pretrained": "rmt.models.pretrained.saving",
}
__all__ = list(_PLACES)


# The first line of ours that runs in `python -m rmt.train`, before the seconds in which it imports
# PyTorch. It does nothing anywhere else.
end_quietly_while_importing()


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module 'rmt' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
