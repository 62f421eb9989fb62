"""A GRU language model: all that a model has to say of itself.

docs/adding_a_model.md walks through this file, and tests/models/test_contract.py trains, scores and
generates with it.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from rmt.models.contract import SegmentModel, State
from rmt.models.options import ModelOptions
from rmt.models.registry import ModelEntry, register
from rmt.options.option import check_at_least, option


@dataclass(frozen=True)
class GRUOptions(ModelOptions):
    """Every option becomes a flag of rmt.train --model gru."""

    model: str = option("gru", "the model")
    d_model: int = option(32, "dimension of embeddings and hidden states")

    def __post_init__(self):
        check_at_least(self, 1, "n_token", "d_model")


@dataclass(frozen=True)
class Hidden(State):
    """What a segment hands to the next. hidden: [B, D], after the segment's last token."""

    hidden: Tensor | None = None


class GRULanguageModel(SegmentModel):
    """Embedding, one GRU layer, softmax."""

    State = Hidden

    def __init__(self, config: GRUOptions):
        super().__init__(config)
        self.embedding = nn.Embedding(config.n_token, config.d_model)
        self.gru = nn.GRU(config.d_model, config.d_model, batch_first=True)
        self.output = nn.Linear(config.d_model, config.n_token)

    def predict(self, tokens_BT: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """The log-probability of every word as next token, [B, T, V], and the next state."""
        first = None if state is None else state.hidden[None]
        hidden_BTD, last = self.gru(self.embedding(tokens_BT), first)
        return self.output(hidden_BTD).log_softmax(dim=-1), Hidden(last[0])


register(ModelEntry("gru", GRUOptions, GRULanguageModel))
