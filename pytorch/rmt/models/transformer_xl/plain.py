"""The same model computed as the paper's published code does: the yardstick of rmt.bench and tests.

It predicts at every segment, also where only the next state is wanted, computes every row of the
last layer, reads as the formula of attention_weights says, one step after the other, leaves the sum
of the word weights' gradients to autograd, and uses PyTorch's own dropout. Losses, states and
gradients are those of the model.
"""

import torch
from torch import Tensor, nn

from rmt.models.transformer_xl.attention.layer import RelativeAttention
from rmt.models.transformer_xl.dropout import Dropout
from rmt.models.transformer_xl.mem_transformer import MemoryAndCache, MemTransformerLM
from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.word_weights import WordEmbedding


class PlainAttention(RelativeAttention):
    """RelativeAttention with a tensor for each term of the formula."""

    @classmethod
    def of(cls, attention: RelativeAttention, config: ModelConfig) -> "PlainAttention":
        """One with the same parameters."""
        with torch.device("meta"):  # no weights of its own, and no random numbers for them
            plain = cls(config)
        plain.load_state_dict(attention.state_dict(keep_vars=True), assign=True)
        return plain

    def read(self, query, key, value, *distance_and_biases: Tensor, masked_QK: Tensor) -> Tensor:
        """The values weighted by attention_weights, with dropout on these: [H, B, Q, d]."""
        rows = (query, key, *distance_and_biases)
        return self.read_by_formula(*rows, value_HBKd=value, masked_QK=masked_QK)


class PlainModel(MemTransformerLM):
    """MemTransformerLM without what makes it fast."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        for layer in self.layers:
            layer.attention = PlainAttention.of(layer.attention, config)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, Dropout):
                    setattr(module, name, nn.Dropout(child.p))
                elif isinstance(child, WordEmbedding):
                    own = nn.Embedding.from_pretrained(child.weight, freeze=False)
                    setattr(module, name, own)

    def advance(self, tokens_BT: Tensor, state: MemoryAndCache | None = None) -> MemoryAndCache:
        """The next state, after a prediction of every token that is thrown away."""
        with self.given_rooms(None):  # those given are for the targets
            return self(tokens_BT, tokens_BT, state)[1]

    def word_weights(self) -> tuple[Tensor | tuple[Tensor, ...], Tensor | None]:
        """A view of the weights, whose gradient autograd adds up."""
        weight, projection = super().word_weights()
        if isinstance(weight, tuple):
            return tuple(own.view_as(own) for own in weight), projection
        return weight.view_as(weight), projection

    def n_rows_read(self, n_tokens: int, predict: bool) -> int:
        """All."""
        return self.config.n_memory + n_tokens + self.config.n_write
