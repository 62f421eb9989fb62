"""Weights to and from the names of the published Transformer-XL and LM-RMT code.

Hugging Face's transfo-xl has the same names, most of them after "transformer.", and the clusters of
its softmax in the head's columns from the first to the last, as the TensorFlow code. rmt.interop
converts files of tensors and whole checkpoints with these.
"""

import itertools
import re
from collections.abc import Iterable, Mapping

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
# With div_val every cluster has tensors of its own, numbered from the head's 0. Of the last two,
# all clusters' are one tensor here, joined along an axis.
OUR_CLUSTER = "embedding.clusters.{}.weight"
CLUSTER = "word_emb.emb_layers.{}.weight"
JOINED_CLUSTERS = {
    "embedding_projection": ("word_emb.emb_projs.{}", 1),
    "softmax.bias": ("crit.out_layers.{}.bias", 0),
}
MEMORY = "mem_tokens"  # [m, 1, D] there, [m, D] here
SINUSOIDS = "pos_emb.inv_freq"  # kept there, computed here
PREFIX = "transformer."  # Hugging Face's
N_NAMED = 3  # names in a sentence


def are_ours(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are this project's."""
    return "embedding.weight" in weights or OUR_CLUSTER.format(0) in weights


def are_theirs(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of Transformer-XL, LM-RMT or Hugging Face's transfo-xl."""
    return CLUSTER.format(0) in with_all_names(weights)


def to_published_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape our weights into the published ones; the inverse of from_published_names.

    As in the published checkpoints, tied tensors appear under all their names: the softmax weight,
    and the tail clusters' projection, where there is one.
    """
    theirs = {}
    clusters = _numbered(weights, OUR_CLUSTER)
    for name, tensor in weights.items():
        layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
        if name == "memory":
            theirs[MEMORY] = tensor.unsqueeze(1)
        elif layer and layer[2] == QUERY:
            joined = torch.cat([tensor, weights[f"layers.{layer[1]}.{KEY_VALUE}"]])
            theirs[f"layers.{layer[1]}.dec_attn.{JOINED}"] = joined
        elif layer and layer[2] in LAYER_NAMES:
            theirs[f"layers.{layer[1]}.{LAYER_NAMES[layer[2]]}"] = tensor
        elif clusters and name in JOINED_CLUSTERS:
            its, axis = JOINED_CLUSTERS[name]
            parts = tensor.split([cluster.shape[axis] for cluster in clusters], dim=axis)
            theirs |= {its.format(i): part for i, part in enumerate(parts)}
        elif name in OUTER_NAMES:
            theirs[OUTER_NAMES[name]] = tensor
        elif not (layer and layer[2] == KEY_VALUE) and not name.startswith("embedding.clusters."):
            raise UsageError(f"there is no published name for {name}")
    theirs |= {CLUSTER.format(i): cluster for i, cluster in enumerate(clusters)}
    if "layers.0.dec_attn.o_net.weight" not in theirs:
        raise UsageError("the weights have no layers: this is no such model")
    d_model = theirs["layers.0.dec_attn.o_net.weight"].shape[0]
    frequency = 10000.0 ** (-torch.arange(0.0, d_model, 2.0) / d_model)
    return with_all_names(theirs) | {SINUSOIDS: frequency}


def from_published_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape published weights into ours.

    A softmax weight equal to the embedding is taken as tied. Raises UsageError for names that it
    can't place, and for tensors that differ where they are one here.
    """
    theirs = each_once(with_all_names(theirs))
    layer_names = {value: key for key, value in LAYER_NAMES.items()}
    outer_names = {value: key for key, value in OUTER_NAMES.items()}
    ours, left_over = {}, []
    clusters = _numbered(theirs, CLUSTER)
    if not clusters:
        raise UsageError(f"{CLUSTER.format(0)} is missing: this is no such model")
    if len(clusters) > 1:
        for name, (its, axis) in JOINED_CLUSTERS.items():
            parts = [theirs.pop(its.format(i), None) for i in range(len(clusters))]
            if any(part is None for part in parts):
                raise UsageError(f"of {len(clusters)} clusters some have no {its.format('N')}")
            ours[name] = torch.cat(parts, dim=axis)
        for i in range(len(clusters)):
            ours[OUR_CLUSTER.format(i)] = theirs.pop(CLUSTER.format(i))
    for name, tensor in theirs.items():
        layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
        if name == MEMORY:
            ours["memory"] = tensor.squeeze(1)
        elif layer and layer[2] == f"dec_attn.{JOINED}":
            query, key_value = tensor.split([len(tensor) // 3, len(tensor) - len(tensor) // 3])
            ours[f"layers.{layer[1]}.{QUERY}"] = query
            ours[f"layers.{layer[1]}.{KEY_VALUE}"] = key_value
        elif layer and layer[2] in layer_names:
            ours[f"layers.{layer[1]}.{layer_names[layer[2]]}"] = tensor
        elif name in outer_names:
            ours[outer_names[name]] = tensor
        else:
            left_over.append(name)
    if left_over:
        raise UsageError(
            f"{listed(left_over)} {'is' if len(left_over) == 1 else 'are'} not a parameter of "
            "Transformer-XL or LM-RMT as used here"
        )
    return {name: tensor.contiguous() for name, tensor in ours.items()}


# Tensors that have several names


def with_all_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as the published code has them: Hugging Face's without their prefix and with the last
    cluster first, and tied ones under all their names, of which a file may hold the first alone."""
    if any(name.startswith(PREFIX) for name in theirs):
        theirs = {name.removeprefix(PREFIX): tensor for name, tensor in theirs.items()}
        for name in ("crit.cluster_weight", "crit.cluster_bias"):
            theirs |= {name: theirs[name].flip(0)} if name in theirs else {}
    return {name: theirs[first] for name, first in _ties(theirs).items()} | {**theirs}


def each_once(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without second names, and without what is computed here.

    A softmax weight of all words may differ from the embedding, and is kept then. Raises UsageError
    for other ties that don't hold.
    """
    ties, separate = _ties(theirs), "crit.out_layers.0.weight"
    for name in theirs:
        # Hugging Face has the biases that all layers share under the name of each of them, too.
        bias = re.fullmatch(r"layers\.\d+\.dec_attn\.(r_[wr]_bias)", name)
        if bias and bias[1] in theirs:
            ties[name] = bias[1]
    kept = {name: tensor for name, tensor in theirs.items() if name != SINUSOIDS}
    for name in ties.keys() & theirs.keys():
        if torch.equal(theirs[name], theirs[ties[name]]):
            del kept[name]
        elif name != separate or len(_numbered(theirs, CLUSTER)) > 1:
            raise UsageError(f"{name} and {ties[name]} differ, and here they are one")
    return kept


def _ties(theirs: Mapping[str, Tensor]) -> dict[str, str]:
    """Second names of tensors, with the first ones."""
    n_parts, n_tails = len(_numbered(theirs, CLUSTER)), n_clusters(theirs)
    ties = {f"crit.out_layers.{i}.weight": CLUSTER.format(i) for i in range(n_parts)}
    for i in range(1, 1 + n_tails):
        first = f"word_emb.emb_projs.{i if n_parts > 1 else 0}"
        if first in theirs:
            ties[f"crit.out_projs.{i}"] = first
    return ties


def n_clusters(theirs: Mapping[str, Tensor]) -> int:
    """Of the adaptive softmax, but for its head; 0 for another softmax."""
    return theirs["crit.cluster_bias"].numel() if "crit.cluster_bias" in theirs else 0


def _numbered(weights: Mapping[str, Tensor], name: str) -> list[Tensor]:
    """Tensors whose names differ in a number that counts from 0."""
    found = (weights.get(name.format(i)) for i in range(len(weights)))
    return list(itertools.takewhile(lambda tensor: tensor is not None, found))


# Weights for a model


def check_published_weights(model: MemTransformerLM, theirs: Mapping[str, Tensor]) -> None:
    """Raise UsageError unless these are the tensors of such a model, naming those that are not."""
    expected, found = to_published_names(model.state_dict()), with_all_names(theirs)
    wrong = []
    if missing := expected.keys() - found.keys() - {SINUSOIDS}:
        wrong.append(f"without {listed(missing)}")
    if left_over := each_once(found).keys() - expected.keys():
        wrong.append(f"with {listed(left_over)}, which it has not")
    for name in sorted(expected.keys() & found.keys() - {SINUSOIDS}):
        if expected[name].shape != found[name].shape:
            shapes = (tuple(of[name].shape) for of in (found, expected))
            wrong.append("with {} of shape {}, not {}".format(name, *shapes))
    if wrong:
        more = f", and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
        raise UsageError(
            f"these are not the weights of {model.config.label}: they come "
            f"{'; '.join(wrong[:N_NAMED])}{more}"
        )


def load_published_weights(model: MemTransformerLM, state_dict: Mapping[str, Tensor]) -> None:
    """Set a model's weights from a published state_dict.

    Raises UsageError where names or shapes are another model's.
    """
    check_published_weights(model, state_dict)
    weights = from_published_names(state_dict)
    if model.config.not_tied:  # equal by chance is still separate
        weights.setdefault("softmax_weight", weights["embedding.weight"])
    model.load_state_dict(weights)


def published_state_dict(model: MemTransformerLM) -> dict[str, Tensor]:
    """A model's weights under their published names."""
    return to_published_names(model.state_dict())


def listed(names: Iterable[str]) -> str:
    """The names for a sentence, or the first of them."""
    names = sorted(names)
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
