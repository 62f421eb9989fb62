"""A layer of the Transformer-XL backbone.

Axes: B batch, Q rows that are computed, K rows of their context, D d_model, H heads, d of one, R
distances.
"""

from torch import Tensor, nn

from rmt.models.transformer_xl.attention.layer import RelativeAttention
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.padding import PaddedLinear


class FeedForward(nn.Module):
    """Linear, ReLU, linear, with dropout after both."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d_model, d_inner, pad_sizes = config.d_model, config.d_inner, config.pad_sizes
        self.inner = PaddedLinear(d_model, d_inner, pad_sizes=pad_sizes, leaves_padding=True)
        self.outer = PaddedLinear(d_inner, d_model, pad_sizes=pad_sizes)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.outer(self.dropout(self.inner(x).relu())))


class Layer(nn.Module):
    """Attention and feed-forward, each with a residual connection and a LayerNorm."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.pre_lnorm = config.pre_lnorm
        self.attention = RelativeAttention(config)
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def keys_values(self, context_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the attention, [H, B, K, d] each."""
        return self.attention.keys_values(
            self.attention_norm(context_BKD) if self.pre_lnorm else context_BKD
        )

    def forward(
        self, x_BQD: Tensor, context_BKD: Tensor, distance_RD: Tensor, *attention_inputs
    ) -> Tensor:
        """Return the new hidden states of the rows x, the last Q of the context: [B, Q, D]."""
        keys_values = self.keys_values(context_BKD)
        distance_HRd = self.attention.distances(distance_RD)
        return self.with_keys_values(x_BQD, keys_values, distance_HRd, *attention_inputs)

    def with_keys_values(self, x_BQD: Tensor, keys_values: tuple, *attention_inputs) -> Tensor:
        """As forward, with the heads' keys and values and distances, which are there already."""
        x = x_BQD
        if self.pre_lnorm:
            x = x + self.dropout(
                self.attention(self.attention_norm(x), keys_values, *attention_inputs)
            )
            return x + self.feed_forward(self.feed_forward_norm(x))
        read = self.dropout(self.attention(x, keys_values, *attention_inputs))
        x = self.attention_norm(x + read)
        return self.feed_forward_norm(x + self.feed_forward(x))
