"""Weights to and from the names of the published Transformer-XL and LM-RMT code.

rmt.interop converts files of tensors with these.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.runtime.errors import UsageError

# Ours -> theirs, inside layer N and outside. Queries, keys and values are one matrix there.
LAYER_NAMES = {
    "attention.distance.weight": "dec_attn.r_net.weight",
    "attention.output.weight": "dec_attn.o_net.weight",
    "attention.content_bias": "dec_attn.r_w_bias",
    "attention.position_bias": "dec_attn.r_r_bias",
    "attention_norm.weight": "dec_attn.layer_norm.weight",
    "attention_norm.bias": "dec_attn.layer_norm.bias",
    "feed_forward.inner.weight": "pos_ff.CoreNet.0.weight",
    "feed_forward.inner.bias": "pos_ff.CoreNet.0.bias",
    "feed_forward.outer.weight": "pos_ff.CoreNet.3.weight",
    "feed_forward.outer.bias": "pos_ff.CoreNet.3.bias",
    "feed_forward_norm.weight": "pos_ff.layer_norm.weight",
    "feed_forward_norm.bias": "pos_ff.layer_norm.bias",
}
QUERY, KEY_VALUE, JOINED = "attention.query.weight", "attention.key_value.weight", "qkv_net.weight"
OUTER_NAMES = {
    "embedding.weight": "word_emb.emb_layers.0.weight",
    "embedding_projection": "word_emb.emb_projs.0",
    "content_bias": "r_w_bias",
    "position_bias": "r_r_bias",
    "softmax_weight": "crit.out_layers.0.weight",
    "softmax.bias": "crit.out_layers.0.bias",
    "softmax.projection": "crit.out_projs.0",
    "softmax.cluster_weight": "crit.cluster_weight",
    "softmax.cluster_bias": "crit.cluster_bias",
}
THEIR_MEMORY = "mem_tokens"  # [m, 1, D] there, [m, D] here


def are_ours(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are this project's."""
    return "embedding.weight" in weights


def to_published_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape our weights into the published ones; the inverse of from_published_names.

    As in the published checkpoints, a tied softmax weight appears under both its names, and the
    tail clusters' projection, where there is one, beside the embedding's.
    """
    theirs = {}
    for name, tensor in weights.items():
        layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
        if name == "memory":
            theirs[THEIR_MEMORY] = tensor.unsqueeze(1)
        elif layer and layer[2] == QUERY:
            joined = torch.cat([tensor, weights[f"layers.{layer[1]}.{KEY_VALUE}"]])
            theirs[f"layers.{layer[1]}.dec_attn.{JOINED}"] = joined
        elif layer and layer[2] in LAYER_NAMES:
            theirs[f"layers.{layer[1]}.{LAYER_NAMES[layer[2]]}"] = tensor
        elif name in OUTER_NAMES:
            theirs[OUTER_NAMES[name]] = tensor
        elif not (layer and layer[2] == KEY_VALUE):
            raise UsageError(f"there is no published name for {name}")
    theirs.setdefault("crit.out_layers.0.weight", theirs["word_emb.emb_layers.0.weight"])
    n_tails = len(theirs.get("crit.cluster_bias", ()))
    if "word_emb.emb_projs.0" in theirs:
        for i in range(1, n_tails + 1):
            theirs[f"crit.out_projs.{i}"] = theirs["word_emb.emb_projs.0"]
    if "layers.0.dec_attn.o_net.weight" not in theirs:
        raise UsageError("the weights have no layers: this is no such model")
    d_model = theirs["layers.0.dec_attn.o_net.weight"].shape[0]
    frequency = 10000.0 ** (-torch.arange(0.0, d_model, 2.0) / d_model)
    return theirs | {"pos_emb.inv_freq": frequency}


def from_published_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape published weights into ours. Raises UsageError for names it can't place.

    A softmax weight equal to the embedding is taken as tied.
    """
    layer_names = {value: key for key, value in LAYER_NAMES.items()}
    outer_names = {value: key for key, value in OUTER_NAMES.items()}
    ours = {}
    for name, tensor in theirs.items():
        layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
        if name == THEIR_MEMORY:
            ours["memory"] = tensor.squeeze(1)
        elif layer and layer[2] == f"dec_attn.{JOINED}":
            query, key_value = tensor.split([len(tensor) // 3, len(tensor) - len(tensor) // 3])
            ours[f"layers.{layer[1]}.{QUERY}"] = query
            ours[f"layers.{layer[1]}.{KEY_VALUE}"] = key_value
        elif layer and layer[2] in layer_names:
            ours[f"layers.{layer[1]}.{layer_names[layer[2]]}"] = tensor
        elif name in outer_names:
            ours[outer_names[name]] = tensor
        elif name != "pos_emb.inv_freq" and not re.fullmatch(r"crit\.out_projs\.\d+", name):
            raise UsageError(f"{name} is not a parameter of Transformer-XL or LM-RMT as used here")
    if "embedding.weight" not in ours:
        raise UsageError("word_emb.emb_layers.0.weight is missing: this is no such model")
    if torch.equal(ours.get("softmax_weight", ours["embedding.weight"]), ours["embedding.weight"]):
        ours.pop("softmax_weight", None)
    return {name: tensor.contiguous() for name, tensor in ours.items()}


def load_published_weights(model: MemTransformerLM, state_dict: Mapping[str, Tensor]) -> None:
    """Set a model's weights from a published state_dict.

    Raises UsageError where names or shapes are another model's.
    """
    weights = from_published_names(state_dict)
    own = model.state_dict()
    if model.config.not_tied:  # equal by chance is still separate
        weights.setdefault("softmax_weight", weights["embedding.weight"])
    for name in sorted(own.keys() | weights.keys()):
        shapes = [tuple(of[name].shape) if name in of else "absent" for of in (weights, own)]
        if shapes[0] != shapes[1]:
            raise UsageError(f"{name} is {shapes[0]} in the weights and {shapes[1]} in the model")
    model.load_state_dict(weights)


def published_state_dict(model: MemTransformerLM) -> dict[str, Tensor]:
    """A model's weights under their published names."""
    return to_published_names(model.state_dict())
