"""A group of layers as one, each on streams of its own: what a diagonal step computes.

A GroupedLayer is a Layer, and computes by the same lines. Its streams are those of all G layers,
one layer's after the other's: [G*B, N, D]. Only where parameters meet rows does it matter whose
they are. So these parts, and these alone, have grouped twins: linear maps, norms, and the heads of
the attention, of which there are as many as in all layers together: [G*H, B, N, d].

The parameters of all layers are stacked once, differentiably. A group takes those of layers that
follow each other. Axes: L all layers, G those of a group, X the streams or heads of all layers of a
group; the others are in attention/.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmt.models.transformer_xl.attention.layer import RelativeAttention
from rmt.models.transformer_xl.layers import FeedForward, Layer
from rmt.models.transformer_xl.padding import PaddedLinear, pads


class Grouped(nn.Module):
    """What has stacked parameters, of which choose takes those of a group."""

    def __init__(self, n_layer: int):
        super().__init__()
        self.group = slice(0, n_layer)

    @property
    def n_layers(self) -> int:
        return self.group.stop - self.group.start


def choose(module: nn.Module, first: int, n_layers: int) -> None:
    """Let the module compute the layers from first on."""
    for part in module.modules():
        if isinstance(part, Grouped):
            part.group = slice(first, first + n_layers)


class GroupedLinear(Grouped):
    """The same linear map of several layers: [G*B, N, n_in] -> [G*B, N, n_out]."""

    def __init__(self, maps: Sequence[nn.Linear]):
        super().__init__(len(maps))
        like = self.like = maps[0]
        self.is_padded = isinstance(like, PaddedLinear) and pads(like.pad_sizes, like.weight)
        # In their own precision, for a part of the layer that computes without autocast.
        with torch.autocast(like.weight.device.type, enabled=False):
            own = [
                each.padded_parameters() if self.is_padded else (each.weight, each.bias)
                for each in maps
            ]
            weights, biases = zip(*own, strict=True)
            self.weight = torch.stack(weights)
            self.bias = None if biases[0] is None else torch.stack(biases)[:, None]
        # As autocast has them, which would make them anew in every step.
        self.low = [_in_autocast(each) for each in (self.weight, self.bias)]

    def forward(self, x_XNI: Tensor) -> Tensor:
        if self.is_padded:
            x_XNI = self.like.padded_rows(x_XNI)
        low = torch.is_autocast_enabled(x_XNI.device.type)
        weight_LOI, bias_L1O = self.low if low else (self.weight, self.bias)
        weight_GIO = weight_LOI[self.group].mT
        x_GNI = x_XNI.unflatten(0, (self.n_layers, -1)).flatten(1, 2)
        if bias_L1O is None:
            out_GNO = x_GNI @ weight_GIO
        else:
            out_GNO = torch.baddbmm(bias_L1O[self.group], x_GNI, weight_GIO)
        out_XNO = out_GNO.unflatten(1, (-1, x_XNI.shape[1])).flatten(0, 1)
        if self.is_padded and not self.like.leaves_padding:
            return out_XNO[..., : self.like.out_features]
        return out_XNO


def _in_autocast(x: Tensor | None) -> Tensor | None:
    if x is None or x.dtype != torch.float32 or not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))


class GroupedNorm(Grouped):
    """The LayerNorms of several layers: [G*B, N, D] -> [G*B, N, D]."""

    def __init__(self, norms: Sequence[nn.LayerNorm]):
        super().__init__(len(norms))
        self.eps = norms[0].eps
        self.weight = torch.stack([norm.weight for norm in norms])[:, None, None]
        self.bias = torch.stack([norm.bias for norm in norms])[:, None, None]

    def forward(self, x_XND: Tensor) -> Tensor:
        normal_GBND = F.layer_norm(x_XND, x_XND.shape[-1:], eps=self.eps)
        normal_GBND = normal_GBND.unflatten(0, (self.n_layers, -1))
        scaled_GBND = torch.addcmul(self.bias[self.group], normal_GBND, self.weight[self.group])
        return scaled_GBND.flatten(0, 1)


class GroupedAttention(RelativeAttention):
    """RelativeAttention whose heads are those of all layers of the group.

    So are the biases that it is given, [G*H, d], and of the distances there is one table for each
    layer, [G, R, D]. The mask is [Q, K], or [G*H, 1, Q, K] where layers' streams differ in what
    they see.
    """

    def __init__(self, attentions: Sequence[RelativeAttention]):
        nn.Module.__init__(self)
        like = attentions[0]
        self.n_head, self.dropatt, self.align = like.n_head, like.dropatt, like.align
        self.reader = like.reader
        for name in ("query", "key_value", "distance", "output"):
            setattr(self, name, GroupedLinear([getattr(each, name) for each in attentions]))

    def _heads(self, rows_XNX: Tensor) -> Tensor:
        """[G*B, N, H*d] -> [G*H, B, N, d]."""
        rows_GBNHd = rows_XNX.unflatten(0, (self.query.n_layers, -1)).unflatten(
            -1, (self.n_head, -1)
        )
        return rows_GBNHd.permute(0, 3, 1, 2, 4).flatten(0, 1)

    def _distance_heads(self, distance_GRX: Tensor) -> Tensor:
        """[G, R, H*d] -> [G*H, R, d]."""
        return distance_GRX.unflatten(-1, (self.n_head, -1)).transpose(1, 2).flatten(0, 1)

    def _joined(self, read_XBQd: Tensor) -> Tensor:
        """[G*H, B, Q, d] -> [G*B, Q, H*d]."""
        read_GHBQd = read_XBQd.unflatten(0, (-1, self.n_head))
        return read_GHBQd.permute(0, 2, 3, 1, 4).flatten(3).flatten(0, 1)


class GroupedFeedForward(FeedForward):
    """FeedForward of several layers."""

    def __init__(self, parts: Sequence[FeedForward]):
        nn.Module.__init__(self)
        self.inner = GroupedLinear([each.inner for each in parts])
        self.outer = GroupedLinear([each.outer for each in parts])
        self.dropout = parts[0].dropout


class GroupedLayer(Layer):
    """Layer, for several of them: [G*B, N, D] -> [G*B, N, D]."""

    def __init__(self, layers: Sequence[Layer]):
        nn.Module.__init__(self)
        self.pre_lnorm, self.dropout = layers[0].pre_lnorm, layers[0].dropout
        self.attention = GroupedAttention([each.attention for each in layers])
        self.attention_norm = GroupedNorm([each.attention_norm for each in layers])
        self.feed_forward = GroupedFeedForward([each.feed_forward for each in layers])
        self.feed_forward_norm = GroupedNorm([each.feed_forward_norm for each in layers])
