"""A pretrained encoder with memory as a model that is trained like any other (contract.py).

What it predicts are labels. A label is a word at the vocabulary's end; it is the target of a text's
last token, and its loss is the cross entropy of the classes' scores after the segment. Where a text
does not fill a segment, padding stands before it, which the backbone never sees.

Axes: B batch, T tokens of the segment, C classes, V words.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from rmt.data.batches import IGNORED
from rmt.models.contract import SegmentModel
from rmt.models.options import Carried
from rmt.models.pretrained.backbone import bare, text_config
from rmt.models.pretrained.causal import Memory
from rmt.models.pretrained.encoder import MemoryEncoder
from rmt.models.pretrained.options import CONFIG, ClassifierOptions


class PretrainedClassifier(SegmentModel):
    """encoder: what rmt.wrap_encoder gives."""

    State = Memory
    not_decayed: ClassVar = frozenset({"encoder.memory"})

    def __init__(self, config: ClassifierOptions, encoder: MemoryEncoder):
        super().__init__(config)
        self.encoder = encoder
        self.train(bare(encoder.backbone).training)

    def forward(
        self, tokens_BT: Tensor, targets_BT: Tensor, state: Memory | None = None
    ) -> tuple[Tensor, Memory]:
        """As the contract says; targets are labels or IGNORED."""
        log_probs_BC, state = self.classify(tokens_BT, state)
        is_scored_BT = targets_BT != IGNORED
        classes_BT = (targets_BT - self.config.first_label).masked_fill(~is_scored_BT, 0)
        nll_BT = -log_probs_BC.gather(1, classes_BT)
        return nll_BT.masked_fill(~is_scored_BT, 0), state

    def predict(self, tokens_BT: Tensor, state: Memory | None = None) -> tuple[Tensor, Memory]:
        """The same for all tokens: the labels' log-probabilities after the segment, and -inf for
        any other word."""
        log_probs_BC, state = self.classify(tokens_BT, state)
        others = log_probs_BC.new_full((len(tokens_BT), self.config.first_label), -torch.inf)
        log_probs_BV = torch.cat([others, log_probs_BC], dim=1)
        return log_probs_BV[:, None].expand(-1, tokens_BT.shape[1], -1), state

    def advance(self, tokens_BT: Tensor, state: Memory | None = None) -> Memory:
        return self._scores(tokens_BT, state)[1] if self.config.mem_len else Memory()

    @property
    def carries(self) -> Carried:
        mem_len = self.config.mem_len
        return Carried(mem_len * text_config(self.encoder.backbone).hidden_size, mem_len > 0)

    def check_segment(self, n_tokens: int) -> None:
        """Raise UsageError for a segment that the backbone has no positions for."""
        self.encoder.check_segment(n_tokens)

    def files(self) -> Mapping[str, str]:
        """The backbone's configuration."""
        return {CONFIG: bare(self.encoder.backbone).config.to_json_string()}

    # Inside one segment

    def classify(self, tokens_BT: Tensor, state: Memory | None) -> tuple[Tensor, Memory]:
        """The classes' log-probabilities, [B, C], and the next state."""
        scores_BC, state = self._scores(tokens_BT, state)
        dtype = torch.promote_types(scores_BC.dtype, torch.float32)
        return scores_BC.to(dtype).log_softmax(dim=-1), state

    def _scores(self, tokens_BT: Tensor, state: Memory | None) -> tuple[Tensor, Memory]:
        """The classes' scores, [B, C], and the next state; a text that is absent keeps its own."""
        if not tokens_BT.shape[1]:
            return self._no_scores(len(tokens_BT)), self.state_before(tokens_BT, state)
        is_text_BT = tokens_BT != self.config.padding
        lengths_B = is_text_BT.sum(dim=1)
        # The encoder has the text at the beginning of a row.
        order_BT = (~is_text_BT).to(torch.uint8).argsort(dim=1, stable=True)
        tokens_BT = tokens_BT.masked_fill(~is_text_BT, 0).gather(1, order_BT)
        if tokens_BT.device.type == "cpu":
            return self._without_padding(tokens_BT, lengths_B, state)
        return self.encoder(tokens_BT, lengths_B, state)

    def _without_padding(
        self, tokens_BT: Tensor, lengths_B: Tensor, state: Memory | None
    ) -> tuple[Tensor, Memory]:
        """The same where looking at lengths costs nothing: absent texts, and places where all have
        padding, are not computed."""
        n_streams, longest = len(tokens_BT), int(lengths_B.max())
        present_b = lengths_B.nonzero().squeeze(1)
        before = self.encoder.read_memory(state, n_streams)
        if not longest:
            return self._no_scores(n_streams), Memory(before)
        if len(present_b) == n_streams:
            lengths_B = None if int(lengths_B.min()) == longest else lengths_B
            return self.encoder(tokens_BT[:, :longest], lengths_B, state)
        own = None if before is None else Memory(before[present_b])
        scores_bC, after = self._without_padding(tokens_BT[present_b], lengths_B[present_b], own)
        scores_BC = self._no_scores(n_streams).to(scores_bC).index_copy(0, present_b, scores_bC)
        if before is None:
            return scores_BC, after
        return scores_BC, Memory(before.to(after.memory).index_copy(0, present_b, after.memory))

    def _no_scores(self, n_streams: int) -> Tensor:
        return next(self.parameters()).new_zeros(n_streams, self.config.n_labels)
