"""What all models around a pretrained causal language model share.

The backbone's parts, and the losses of scored tokens. A model of this kind says how the rows of one
segment go through the backbone (_segment), and has a State.

Axes: B batch, T tokens of the segment, R rows, D hidden size, V words, N scored tokens.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from rmt.data.batches import IGNORED
from rmt.models.contract import SegmentModel, State, evaluating, with_memory
from rmt.models.options import ModelOptions
from rmt.models.pretrained import hub
from rmt.models.pretrained.backbone import (
    bare,
    check_rows,
    check_sizes,
    initial_memory,
    most_rows,
    text_config,
)
from rmt.models.pretrained.options import CONFIG, BackboneOptions
from rmt.runtime.errors import UsageError

BACKBONE = "backbone."  # how names of its weights begin in ours


class BackboneLM(SegmentModel):
    """A causal language model of the transformers library that reads segment by segment.

    Beside the contract its calls take lengths, [B]: of each stream how many tokens of the segment
    are no padding, which stands behind them. A stream with none is absent: its state stays.
    """

    not_decayed: ClassVar = frozenset({"memory"})

    def __init__(self, config: BackboneOptions, backbone: nn.Module):
        """backbone: with its adapters, where it has any. Raises UsageError for one that is not made
        as causal language models are."""
        super().__init__(config)
        self.backbone = backbone
        embedding, head = self.embedding, bare(backbone).get_output_embeddings()
        if embedding is None or head is None:
            raise UsageError(
                f"{type(bare(backbone)).__name__} is no causal language model: load the backbone "
                "with AutoModelForCausalLM"
            )
        if config.mem_len:
            check_sizes(embedding, text_config(backbone).hidden_size)
            self.memory = nn.Parameter(initial_memory(embedding, config.mem_len))
        self.most_rows = most_rows(backbone)
        self._check_logits()
        self.train(bare(backbone).training)

    # The backbone's parts

    @property
    def embedding(self) -> nn.Module:
        return bare(self.backbone).get_input_embeddings()

    def layers(self, x_BRD: Tensor, **inputs):
        """The backbone from embeddings to the last hidden states, as its own output object."""
        return bare(self.backbone).base_model(inputs_embeds=x_BRD, **inputs)

    def new_cache(self):
        """The backbone's own cache of keys and values, empty."""
        return hub.transformers().DynamicCache(config=text_config(self.backbone))

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V]; a backbone may have more words than the vocabulary, by padding."""
        logits = bare(self.backbone).get_output_embeddings()(hidden)[..., : self.config.n_token]
        cap = getattr(text_config(self.backbone), "final_logit_softcapping", None)  # Gemma 2
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def log_probs(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., V]."""
        return _at_least_float32(self.logits(hidden)).log_softmax(dim=-1)

    # The contract

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        state: State | None = None,
        lengths_B: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """As the contract says. The logits of tokens that are not scored are not computed."""
        hidden_BTD, state = self._read(tokens_BT, state, lengths_B)
        if lengths_B is not None:
            places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
            targets_BT = targets_BT.masked_fill(places_T >= lengths_B[:, None], IGNORED)
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), targets_BT.flatten()
        room = self.rooms_given[0] if self.rooms_given else self.rooms(targets_BT)[0]
        if room == len(targets_N):
            nll_N = self._nll(hidden_ND, targets_N)
        else:
            # Sorted, for a mask would be of a size that only the device knows.
            order_N = (targets_N == IGNORED).to(torch.uint8).argsort(stable=True)[:room]
            nll_N = hidden_ND.new_zeros(len(targets_N), dtype=self._loss_dtype(hidden_ND))
            scored_N = self._nll(hidden_ND[order_N], targets_N[order_N])
            nll_N = nll_N.index_copy(0, order_N, scored_N.to(nll_N.dtype))
        return nll_N.view_as(targets_BT), state

    def advance(
        self, tokens_BT: Tensor, state: State | None = None, lengths_B: Tensor | None = None
    ) -> State:
        return self._read(tokens_BT, state, lengths_B)[1]

    def predict(
        self, tokens_BT: Tensor, state: State | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        hidden_BTD, state = self._read(tokens_BT, state, lengths_B)
        return self.log_probs(hidden_BTD), state

    def rooms(self, targets_BT: Tensor) -> tuple[int, ...]:
        """Places for the scored tokens."""
        return (int((targets_BT != IGNORED).sum()),)

    def check_segment(self, n_tokens: int) -> None:
        """Raise UsageError for a segment that the backbone has no positions for."""
        n_rows, what = self.rows_of_segment(n_tokens)
        check_rows(n_rows, self.most_rows, what)

    def files(self) -> Mapping[str, str]:
        """The backbone's configuration."""
        return {CONFIG: bare(self.backbone).config.to_json_string()}

    # What each model of this kind has to say

    def rows_of_segment(self, n_tokens: int) -> tuple[int, str]:
        """How many rows a segment has, and what they are, for people."""
        raise NotImplementedError

    def _segment(
        self, tokens_BT: Tensor, state: State, lengths_B: Tensor | None
    ) -> tuple[Tensor, State]:
        """Of one token or more the last hidden states, [B, T, D], and the next state."""
        raise NotImplementedError

    # Inside

    def _read(
        self, tokens_BT: Tensor, state: State | None, lengths_B: Tensor | None
    ) -> tuple[Tensor, State]:
        """The tokens' last hidden states, [B, T, D], and the next state."""
        self.check_segment(tokens_BT.shape[1])
        state = self.state_before(tokens_BT, state)
        if not tokens_BT.shape[1]:
            return self.embedding(tokens_BT), state
        return self._segment(tokens_BT, state, lengths_B)

    def _nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = _at_least_float32(self.logits(hidden_ND))
        return nn.functional.cross_entropy(
            logits_NV, targets_N, ignore_index=IGNORED, reduction="none"
        )

    def _loss_dtype(self, hidden: Tensor) -> torch.dtype:
        return torch.float64 if hidden.dtype == torch.float64 else torch.float32

    @torch.no_grad()
    def _check_logits(self) -> None:
        """Raise UsageError where the backbone's logits are more than those of logits()."""
        model, tokens_BT = bare(self.backbone), self._two_words()
        with evaluating(model):
            found = self.logits(self.layers(self.embedding(tokens_BT)).last_hidden_state)
            expected = model(input_ids=tokens_BT).logits[..., : self.config.n_token]
        if not torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=1e-4):
            raise UsageError(
                f"the logits of {type(model).__name__} are not its output embedding of its last "
                "hidden states, which is how they are computed here: choose another backbone"
            )

    def _two_words(self) -> Tensor:
        device = self.embedding.weight.device
        return torch.tensor([[0, self.embedding.weight.shape[0] - 1]], device=device)

    # Beginning with the weights of another model

    def weights_from(
        self, others: Mapping[str, Tensor], options: ModelOptions
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The backbone's weights as they are, and those around it where both models have them."""
        weights, changes = with_memory(self, others, options)
        own = {name: w for name, w in self.state_dict().items() if not name.startswith(BACKBONE)}
        for name in list(weights):
            if name not in own and not name.startswith(BACKBONE):
                del weights[name]
                changes[name] = "left out, there is none here"
        for name, weight in own.items():
            if name not in weights:
                weights[name], changes[name] = weight, f"new, {options.model} has none"
        return weights, changes


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
