"""Memory around a pretrained causal language model.

A segment is given to the backbone as rows [read memory, tokens, write memory]. The write memory's
last hidden states are the next segment's memory (Bulatov et al. 2022, section 3.2); layout.py has
the rows' positions and what they see. With mem_len 0 it is the backbone, bit for bit.

Axes: B batch, T tokens of the segment, m memory tokens, D hidden size, V words, N scored tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rmt.data.batches import IGNORED
from rmt.models.contract import Decoder, SegmentModel, State
from rmt.models.options import Carried
from rmt.models.pretrained import hub, layout
from rmt.models.pretrained.backbone import (
    bare,
    check_rows,
    check_sizes,
    initial_memory,
    most_rows,
    text_config,
)
from rmt.models.pretrained.decoder import KeyValueDecoder
from rmt.models.pretrained.options import PretrainedOptions
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Memory(State):
    """memory: [B, m, D], the write memory, with gradient; None for a model without memory."""

    memory: Tensor | None = None


class PretrainedLM(SegmentModel):
    """A causal language model of the transformers library that reads segment by segment.

    Beside the contract its calls take lengths, [B]: of each stream how many tokens of the segment
    are no padding, which stands behind them. A stream with none is absent: its state stays.
    """

    State = Memory
    not_decayed: ClassVar = frozenset({"memory"})

    def __init__(self, config: PretrainedOptions, backbone: nn.Module):
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
        if config.memory_mask == "paper":
            self._check_mask()
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
        state: Memory | None = None,
        lengths_B: Tensor | None = None,
    ) -> tuple[Tensor, Memory]:
        """As the contract says. The logits of tokens that are not scored are not computed."""
        hidden_BTD, state = self._segment(tokens_BT, state, lengths_B)
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
        self, tokens_BT: Tensor, state: Memory | None = None, lengths_B: Tensor | None = None
    ) -> Memory:
        return self._segment(tokens_BT, state, lengths_B)[1] if self.config.mem_len else Memory()

    def predict(
        self, tokens_BT: Tensor, state: Memory | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        hidden_BTD, state = self._segment(tokens_BT, state, lengths_B)
        return self.log_probs(hidden_BTD), state

    def decoder(self, state: Memory | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """One that keeps the backbone's keys and values within a segment."""
        return KeyValueDecoder(self, state, tgt_len, n_streams)

    @property
    def carries(self) -> Carried:
        mem_len = self.config.mem_len
        return Carried(mem_len * text_config(self.backbone).hidden_size, gradient=mem_len > 0)

    def rooms(self, targets_BT: Tensor) -> tuple[int, ...]:
        """Places for the scored tokens."""
        return (int((targets_BT != IGNORED).sum()),)

    # Inside one segment

    def _segment(
        self, tokens_BT: Tensor, state: Memory | None, lengths_B: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """The tokens' last hidden states, [B, T, D], and the next state."""
        n_memory, (n_streams, n_tokens) = self.config.mem_len, tokens_BT.shape
        self.check_segment(n_tokens)
        x = self.embedding(tokens_BT)
        if n_memory:
            before = self.read_memory(state, n_streams)
            x = torch.cat([before, x, before], dim=1)
        if lengths_B is not None and n_memory:
            x = layout.taken(x, layout.order_of_rows(n_memory, n_tokens, lengths_B))
        mask = None  # the backbone's own, which is causal
        if self.config.memory_mask == "paper":
            mask = self.paper_mask(x, n_memory, self._lengths(tokens_BT, lengths_B))
        out = self.layers(
            x,
            attention_mask=mask,
            position_ids=torch.arange(x.shape[1], device=x.device)[None],
            use_cache=False,
        ).last_hidden_state
        hidden_BTD = out[:, n_memory : n_memory + n_tokens]
        if not n_memory:
            return hidden_BTD, Memory()
        if lengths_B is None:
            return hidden_BTD, Memory(out[:, -n_memory:])
        after = layout.taken(out, layout.rows_of_write_memory(n_memory, lengths_B))
        return hidden_BTD, Memory(torch.where(lengths_B[:, None, None] > 0, after, before))

    @staticmethod
    def _lengths(tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        if lengths_B is not None:
            return lengths_B
        n_streams, n_tokens = tokens_BT.shape
        return torch.full((n_streams,), n_tokens, device=tokens_BT.device)

    def paper_mask(self, x_BRD: Tensor, n_write: int, lengths_B: Tensor) -> Tensor:
        """attention_mask of the rows x with the paper's memory: [B, 1, R, R]."""
        n_memory, n_rows = self.config.mem_len, x_BRD.shape[1]
        sees_BQK = layout.paper_mask(n_memory, n_write, n_rows, lengths_B)
        return layout.added_to_scores(sees_BQK, x_BRD.dtype)

    def read_memory(self, state: Memory | None, n_streams: int) -> Tensor:
        """The memory that a segment starts with, the state's or the initial one: [B, m, D]."""
        if state is None or state.memory is None:
            return self.memory.expand(n_streams, -1, -1)
        return state.check_streams(n_streams).memory

    def check_segment(self, n_tokens: int) -> None:
        """Raise UsageError for a segment that the backbone has no positions for."""
        n_memory = self.config.mem_len
        what = f"{n_tokens} tokens and twice {n_memory} of memory" if n_memory else "the tokens"
        check_rows(n_tokens + 2 * n_memory, self.most_rows, what)

    def _nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = _at_least_float32(self.logits(hidden_ND))
        return nn.functional.cross_entropy(
            logits_NV, targets_N, ignore_index=IGNORED, reduction="none"
        )

    def _loss_dtype(self, hidden: Tensor) -> torch.dtype:
        return torch.float64 if hidden.dtype == torch.float64 else torch.float32

    # What the backbone must be like

    @torch.no_grad()
    def _check_logits(self) -> None:
        """Raise UsageError where the backbone's logits are more than those of logits()."""
        model, tokens_BT = bare(self.backbone), self._two_words()
        was_training = model.training
        model.eval()
        found = self.logits(self.layers(self.embedding(tokens_BT)).last_hidden_state)
        expected = model(input_ids=tokens_BT).logits[..., : self.config.n_token]
        model.train(was_training)
        if not torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=1e-4):
            raise UsageError(
                f"the logits of {type(model).__name__} are not its output embedding of its last "
                "hidden states, which is how they are computed here: choose another backbone"
            )

    @torch.no_grad()
    def _check_mask(self) -> None:
        """Raise UsageError where the backbone does not do what a mask of four axes says."""
        model = bare(self.backbone)
        if getattr(text_config(model), "sliding_window", None):
            raise UsageError(
                f"memory_mask paper is not for {type(model).__name__}, whose layers see a sliding "
                "window: use memory_mask causal"
            )
        was_training, x = model.training, self.embedding(self._two_words())
        model.eval()
        mask = torch.zeros(1, 1, 2, 2, dtype=x.dtype, device=x.device)
        ahead = self.layers(x, attention_mask=mask).last_hidden_state[:, 0]
        alone = self.layers(x[:, :1]).last_hidden_state[:, 0]
        model.train(was_training)
        if torch.allclose(ahead, alone):
            raise UsageError(
                f"{type(model).__name__} takes no mask that lets a row see the next one: use "
                "memory_mask causal, or load it with attn_implementation='sdpa'"
            )

    def _two_words(self) -> Tensor:
        device = self.embedding.weight.device
        return torch.tensor([[0, self.embedding.weight.shape[0] - 1]], device=device)

    # Beginning with the weights of another model

    def weights_from(
        self, others: Mapping[str, Tensor], options: PretrainedOptions
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Rows of memory are kept as far as there is room; those that are missing are new."""
        weights = dict(others)
        theirs = weights.pop("memory", None)
        if not self.config.mem_len:
            return weights, {} if theirs is None else {"memory": "left out, there is none here"}
        own = self.memory.detach()
        if theirs is None:
            return weights | {"memory": own}, {"memory": f"new, {options.model} has none"}
        n_kept = min(len(theirs), len(own))
        weights["memory"] = torch.cat([theirs[:n_kept].to(own), own[n_kept:]])
        if len(theirs) == len(own):
            return weights, {}
        return weights, {"memory": f"{n_kept} rows taken, {len(own) - n_kept} new"}


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
